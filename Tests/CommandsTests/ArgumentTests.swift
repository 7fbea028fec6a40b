import S3
import Testing

@testable import Commands

struct ArgumentTests {
    @Test(arguments: [
        ("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://my.bucket-1/a/b", "my.bucket-1", "a/b"),
        ("s3://b//a", "b", "/a"), ("s3://b/a/", "b", "a/"),
    ])
    func sourcesAreBucketAndPath(text: String, bucket: String, path: String) throws {
        let source = try #require(SourceURL(argument: text))
        #expect(source.bucket == bucket)
        #expect(source.path == path)
    }

    @Test(arguments: ["b", "http://b/x", "s3://", "s3:///x", "s3://b@host/x", "s3://b?x", "s3://..", "s3://b c"])
    func whatIsNoSourceIsRefused(text: String) {
        #expect(SourceURL(argument: text) == nil)
    }

    @Test func theRootOfAMountIsADirectory() throws {
        #expect(try #require(SourceURL(argument: "s3://b")).directoryPrefix == ObjectKey(""))
        #expect(try #require(SourceURL(argument: "s3://b/a")).directoryPrefix == ObjectKey("a/"))
        #expect(try #require(SourceURL(argument: "s3://b/a/")).directoryPrefix == ObjectKey("a/"))
    }

    @Test(arguments: [
        ("0", 0), ("17", 17), ("64K", 65536), ("64KiB", 65536), ("128M", 134_217_728), ("2g", 2_147_483_648),
        ("1T", 1_099_511_627_776), ("5B", 5), ("512Mi", 536_870_912), ("20Gi", 21_474_836_480),
    ])
    func sizes(text: String, bytes: UInt64) {
        #expect(ByteSize(argument: text)?.bytes == bytes)
    }

    @Test(arguments: ["", "K", "-1", "1.5G", "12X", "99999999999T", "1 G", "0x10"])
    func sizesThatMakeNoSense(text: String) {
        #expect(ByteSize(argument: text) == nil)
    }

    @Test(arguments: [("500ms", 500), ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("0", 0)])
    func times(text: String, ms: Int) {
        #expect(Span(argument: text)?.ms == ms)
    }

    @Test(arguments: ["", "s", "-5s", "1d", "99999999999999999h"])
    func timesThatMakeNoSense(text: String) {
        #expect(Span(argument: text) == nil)
    }

    @Test(arguments: [("444", 0o444), ("0755", 0o755), ("0", 0)])
    func modes(text: String, bits: UInt32) {
        #expect(FileMode(argument: text)?.bits == bits)
    }

    @Test(arguments: ["888", "1777", "rwx", ""])
    func modesThatMakeNoSense(text: String) {
        #expect(FileMode(argument: text) == nil)
    }
}
