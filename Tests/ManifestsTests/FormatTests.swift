import Glibc
import S3
import Testing

@testable import Manifests

@Suite struct FormatTests {
    @Test func everyFieldComesBack() throws {
        let rows = [
            Row(key: "a", size: 0),
            Row(key: "a/b", size: .max, modified: -5, etag: "d41d8cd98f00b204e9800998ecf8427e-12"),
            Row(key: "a/b ä\u{1}", size: 1 << 40, etag: "not-a-hash", isReadable: false),
            Row(key: "a/c", etag: ""),
            Row(key: "b", version: "wuLzN1HyDpNpbUkSGrp5NvQAsDn8AeYb"),
            Row(key: "c", version: "3f0c1f5e-0000-4c1e-9b0a-0123456789ab"),
            Row(key: "d", version: "with-dashes and more"),
            Row(key: "e", version: "null"),
        ]
        let (bytes, info) = try written([page(rows)], prefix: "p/")
        let manifest = try opened(bytes)
        #expect(manifest.info == info)
        #expect(info.objects == 8 && info.prefix == "p/" && info.bucket == "b" && info.created == 7)
        #expect(info.versioned == 3)
        for row in rows {
            let entry = try #require(try manifest.entry(ObjectKey(row.key)))
            #expect(entry.size == row.size && entry.modified == row.modified && entry.isReadable == row.isReadable)
            // An ID of a version that stays says all; that of the null version doesn't.
            let isPinned = !row.version.isEmpty && row.version != "null"
            #expect(entry.etag == (isPinned ? "" : row.etag))
            #expect(entry.versionID == (row.version.isEmpty ? nil : row.version))
        }
        #expect(try manifest.entry(ObjectKey("")) == nil)
        #expect(try manifest.entry(ObjectKey("a/")) == nil)
        #expect(try manifest.entry(ObjectKey("z")) == nil)
        try manifest.verify()
    }

    @Test func anEmptySnapshotIsAManifestToo() throws {
        let manifest = try opened(try written([]).bytes)
        #expect(manifest.info.objects == 0)
        #expect(try manifest.entry(ObjectKey("a")) == nil)
        #expect(try manifest.list(ListRequest(prefix: ObjectKey(""))).objects.isEmpty)
    }

    @Test func pagesMayComeInAnyOrder() throws {
        let rows = (0..<1000).map { Row(key: "k\(1000 + $0)", etag: "tag\($0)") }
        let pages = stride(from: 0, to: 1000, by: 100).map { page(Array(rows[$0..<$0 + 100])) }
        let forwards = try written(pages)
        let backwards = try written(pages.reversed())
        #expect(forwards.info.digest == backwards.info.digest)
        let manifest = try opened(backwards.bytes)
        try manifest.verify()
        #expect(try manifest.entry(ObjectKey("k1500"))?.etag == "tag500")
    }

    @Test func theDigestTellsContentsApart() throws {
        let one = try written([page([Row(key: "a"), Row(key: "b")])]).info.digest
        #expect(one == (try written([page([Row(key: "a")]), page([Row(key: "b")])]).info.digest))
        #expect(one != (try written([page([Row(key: "a"), Row(key: "b", size: 2)])]).info.digest))
        #expect(one != (try written([page([Row(key: "a"), Row(key: "b", etag: "x")])]).info.digest))
        #expect(one != (try written([page([Row(key: "a")])]).info.digest))
    }

    @Test func aKeyThatComesTwiceIsRefused() throws {
        #expect(throws: ManifestError.self) {
            try written([page([Row(key: "a"), Row(key: "c")]), page([Row(key: "b")])])
        }
        #expect(throws: ManifestError.self) { try written([page([Row(key: "a")]), page([Row(key: "a")])]) }
    }

    /// A million such keys take less than 40 MB, with ETags and with version IDs.
    @Test(arguments: [false, true]) func aKeyTakesLessThan40Bytes(isVersioned: Bool) throws {
        var random = Random(1)
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._")
        let rows = (0..<20_000).map { i in
            Row(
                key: "imagenet/train/n0\(1_440_764 + i / 1300)/n0\(1_440_764 + i / 1300)_\(100_000 + i).JPEG",
                size: UInt64.random(in: 10_000...200_000, using: &random),
                modified: 1_700_000_000 + Int64(i / 10),
                etag: (0..<32).map { _ in String(Int.random(in: 0...15, using: &random), radix: 16) }.joined(),
                version: isVersioned ? String((0..<32).map { _ in letters.randomElement(using: &random)! }) : "")
        }
        let pages = stride(from: 0, to: rows.count, by: 1000).map { page(Array(rows[$0..<$0 + 1000])) }
        #expect(try written(pages).bytes.count < rows.count * 40)
    }

    // MARK: Damage

    /// Whatever byte is damaged, what is read is what was written, or an error.
    @Test func aDamagedByteIsNoticed() throws {
        let rows = (0..<300).map { Row(key: "dir\($0 / 50)/file\(1000 + $0)", size: UInt64($0)) }
        let bytes = try written([page(rows)]).bytes
        for i in 0..<bytes.count
        where !(8..<16).contains(i) && !(footer(bytes.count) + 48..<footer(bytes.count) + 52).contains(i) {
            var damaged = bytes
            damaged[i] ^= 1 << UInt8(i % 8)
            #expect(throws: ManifestError.self, "byte \(i) of \(bytes.count)") { try opened(damaged).verify() }
        }
    }

    private func footer(_ count: Int) -> Int { count - 64 }

    @Test func aManifestThatIsCutOffIsRefused() throws {
        let bytes = try written([page((0..<200).map { Row(key: "k\(1000 + $0)") })]).bytes
        for count in stride(from: 0, to: bytes.count, by: 7) {
            #expect(throws: ManifestError.self) { try opened(Array(bytes[..<count])) }
        }
    }

    /// Bytes that nobody wrote, with checksums that are right: decoding never leads out of them.
    @Test func anyBytesAreRead() throws {
        var random = Random(2)
        let good = page((0..<50).map { Row(key: "key\(100 + $0)", etag: "t\($0)", version: "v\($0)") })
        let block = good.bytes.withUnsafeBytes { ManifestBlock.encode(good.objects[...], $0) }
        for round in 0..<20_000 {
            var bytes = block
            if round % 4 == 0 {
                bytes = (0..<Int.random(in: 0...64, using: &random)).map { _ in .random(in: 0...255, using: &random) }
            }
            for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            let decoded = bytes.withUnsafeBytes { try? ManifestBlock.decode($0, count: 50) }
            guard let decoded else { continue }
            #expect(decoded.objects.count == 50)
            for object in decoded.objects {
                #expect(
                    object.key.upperBound <= decoded.bytes.count && object.version.upperBound <= decoded.bytes.count)
            }
        }
    }

    @Test func anotherFormatIsNamed() throws {
        var bytes = try written([]).bytes
        bytes[7] = 9
        #expect(throws: ManifestError("the manifest has format 9, and this version reads format 1")) {
            try opened(bytes)
        }
    }

    @Test func aFileIsMapped() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/m"
        let bytes = try written([page([Row(key: "a", size: 3)])]).bytes
        let file = open(path, O_WRONLY | O_CREAT, 0o600)
        #expect(write(file, bytes, bytes.count) == bytes.count)
        close(file)
        #expect(try Manifest(file: path).entry(ObjectKey("a"))?.size == 3)
        #expect(throws: ManifestError.self) { try Manifest(file: path + "-missing") }
        #expect(throws: ManifestError.self) { try Manifest(file: directory.path) }
    }
}
