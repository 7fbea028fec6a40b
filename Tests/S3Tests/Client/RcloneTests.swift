import Glibc
import Testing
import Threads

@testable import S3

/// Against `rclone serve s3`, which wants signatures, over HTTP and over HTTPS with an authority of our own.
@Suite(.serialized, .enabled("rclone is not installed") { Program.find("rclone") != nil })
struct RcloneTests {
    private let data = TemporaryDirectory()
    private let configuration = TemporaryDirectory()

    /// Runs until the value goes.
    private final class Server: Sendable {
        let process: Program
        let port: Int
        init(_ root: String, _ extra: [String], _ log: String) throws {
            port = Program.freePort()
            process = try Program(
                "rclone",
                [
                    "serve", "s3", "--config", "/dev/null", "--addr", "127.0.0.1:\(port)", "--auth-key",
                    "AKIATEST,secret", root,
                ] + extra,
                log: log)
            try process.waitForPort(port)
        }
    }

    private func client(_ url: String, _ engine: TransferEngine, ca: String? = nil) throws -> S3Client {
        Fixture.client(try Endpoint(url: url), engine) {
            let keys = Credentials(accessKeyID: "AKIATEST", secretAccessKey: Secret("secret"))
            $0.credentials = StaticCredentials(keys, origin: "test")
            $0.stallTimeoutMs = 10_000
            $0.connection.caFile = ca
            $0.connection.proxy = .none
        }
    }

    private func exercise(_ client: S3Client, _ text: String) throws {
        let page = try client.page(ListRequest(prefix: ObjectKey(""), delimiter: UInt8(ascii: "/"))).get()
        #expect(page.keys == [ObjectKey("a b+ü.txt"), ObjectKey("plain")])
        let object = page.objects[0]
        let etag = String(decoding: page.bytes[object.etag], as: UTF8.self)
        let size = UInt64(text.utf8.count)
        #expect(object.size == size)
        let whole = try client.collect(GetRequest(key: page.keys[0], range: 0..<size, etag: etag, size: size))
        #expect(whole.error == nil && whole.bytes == Array(text.utf8))
        let part = try client.collect(GetRequest(key: page.keys[0], range: 100..<200, etag: etag, size: size))
        #expect(part.error == nil && part.bytes == Array(text.utf8.dropFirst(100).prefix(100)))
        #expect(try client.collect(GetRequest(key: ObjectKey("none"), range: 0..<1)).error == .noSuchKey)
    }

    private func fill() -> String {
        let text = (0..<1000).map { "line \($0)\n" }.joined()
        mkdir("\(data.path)/bucket", 0o755)
        _ = TemporaryDirectory.write("\(data.path)/bucket/a b+ü.txt", text)
        _ = TemporaryDirectory.write("\(data.path)/bucket/plain", "x")
        return text
    }

    @Test func readsAndListsOverHTTP() throws {
        let text = fill()
        let server = try Server(data.path, [], configuration.path + "/log")
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        try exercise(client("http://127.0.0.1:\(server.port)", engine), text)
    }

    /// Small objects by one PUT, large ones in parts; what is deleted is a revision's.
    @Test func uploadsInPartsAndDeletesRevisions() throws {
        _ = fill()
        let server = try Server(data.path, [], configuration.path + "/log")
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        let client = try client("http://127.0.0.1:\(server.port)", engine)
        let key = try #require(RevisionKey(owner: "uid", name: "r1.manifest"))
        for size in [0, 1, 6 << 20, (6 << 20) + 1, 20 << 20] {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 / 7) }
            let upload = ObjectUpload(client, key.objectKey, partBytes: 6 << 20)
            for start in stride(from: 0, to: size, by: 1_000_000) {
                try upload.write(Array(bytes[start..<min(start + 1_000_000, size)]))
            }
            try upload.finish()
            let path = "\(data.path)/bucket/.millrace/revisions/uid/r1.manifest"
            #expect(TemporaryDirectory.bytes(path) == size)
            if size > 0 {
                let read = try client.collect(
                    GetRequest(key: key.objectKey, range: 0..<UInt64(size), size: UInt64(size)))
                #expect(read.error == nil)
                #expect(read.bytes.elementsEqual(bytes), "\(size) bytes")
            }
            let deleted = Promise<Result<Void, S3Error>>()
            client.delete(key) { deleted.fulfil($0) }
            try #require(deleted.wait(until: .now.advanced(byMs: 20_000))).get()
            #expect(TemporaryDirectory.bytes(path) == nil)
        }
        let abandoned = ObjectUpload(client, key.objectKey, partBytes: 6 << 20)
        try abandoned.write([UInt8](repeating: 1, count: 13 << 20))
        abandoned.abort()
        #expect(TemporaryDirectory.bytes("\(data.path)/bucket/.millrace/revisions/uid/r1.manifest") == nil)
    }

    @Test func readsOverHTTPSWithItsOwnAuthority() throws {
        let text = fill()
        let (key, certificate) = (configuration.path + "/key", configuration.path + "/cert")
        try Program.run(
            "openssl",
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                "-subj",
                "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            ], log: configuration.path + "/openssl")
        let server = try Server(data.path, ["--cert", certificate, "--key", key], configuration.path + "/log")
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        let url = "https://127.0.0.1:\(server.port)"
        try exercise(client(url, engine, ca: certificate), text)
        // Without it the certificate is refused, at once and in words.
        for ca in [nil, "/no/such/file"] {
            guard
                case .network(let why) = try client(url, engine, ca: ca).collect(
                    GetRequest(key: ObjectKey("plain"), range: 0..<1)
                ).error
            else {
                Issue.record("a certificate that nobody vouches for was taken")
                continue
            }
            #expect(why.contains("certificate") || why.contains("CA"), "\(why)")
        }
    }
}
