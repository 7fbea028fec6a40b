import Glibc
import S3
import TestSupport
import Testing

@testable import Copy

struct ChecksumTests {
    @Test(
        "C7: digests of every kind are what their programs say",
        arguments: [
            (Checksum.Algorithm.md5, "md5:25f9e794323b453885f5181f1b624d0b"),
            (.sha1, "sha1:f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (.sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            (
                .sha512,
                "SHA-512:d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d4"
                    + "99c95455b6b5bb503acf574fba8ffe85"
            ),
            (.crc32, "crc32:cbf43926"), (.crc32c, "crc32c:e3069283"), (.crc64nvme, "crc64nvme:ae8b14860a799888"),
        ])
    func known(algorithm: Checksum.Algorithm, text: String) throws {
        let wanted = try Checksum(text)
        #expect(wanted.algorithm == algorithm)
        var hasher = Hasher(algorithm)
        for piece in ["1234", "56789"] { Array(piece.utf8).withUnsafeBytes { hasher.add($0) } }
        #expect(Checksum(algorithm, hasher.finish()) == wanted)
    }

    @Test(arguments: ["", "xyz", "sha256:12", "sha257:0011", "0011", "md5:zz"])
    func whatIsNoChecksumIsRefused(text: String) {
        let error = #expect(throws: ChecksumError.self) { try Checksum(text) }
        #expect(error?.description.isEmpty == false)
    }

    @Test func listsAreReadInAllTheirFormats() throws {
        let a = String(repeating: "0a", count: 16)
        let list = try ChecksumList(
            """
            # made by hand
            \(a)  plain.txt
            \(a) *binary file.bin

            SHA1 (bsd (1).txt) = \(String(repeating: "0b", count: 20))
            md5:\(a)  ./named.txt
            """)
        #expect(Set(list.byPath.keys) == ["plain.txt", "binary file.bin", "bsd (1).txt", "named.txt"])
        #expect(list.byPath["bsd (1).txt"]?.first?.algorithm == .sha1)
        let error = #expect(throws: ChecksumError.self) { try ChecksumList("\(a)  a\nnonsense") }
        #expect(error?.description.hasPrefix("line 2:") == true)
    }

    private let store = MemoryStore()
    private let folder = Folder()

    private func run(_ options: CopyOptions, _ items: [CopyItem]) -> CopyJob.Counts {
        let job = CopyJob(store: store, destination: folder.path, options: options)
        for item in items { job.add(item) }
        return job.finish()
    }

    @Test("C9: a wrong checksum is final, is named, and leaves nothing under the file's name")
    func mismatch() throws {
        defer { store.stop() }
        store.put("a", Array("hello".utf8))
        store.put("b", Array("world".utf8))
        var options = oneAtATime
        options.checksums = try ChecksumList("\(String(repeating: "00", count: 16))  b")
        let counts = run(options, [try item(store, "b"), try item(store, "a")])
        let failure = try #require(counts.failures.first)
        #expect(failure.kind == .final && failure.path == "b")
        #expect(failure.reason.contains("md5:7d793037a0760186574b0282f2f435e7"))
        #expect(!folder.names().contains("b") && !folder.names().contains(".b.millrace-part"))
    }

    @Test("C9: a single object's checksum counts whatever its file is called", arguments: ["", "iris.bin"])
    func ofOne(path: String) throws {
        defer { store.stop() }
        store.put("d/a", Array("hello".utf8))
        for (digest, isRight) in [
            ("5d41402abc4b2a76b9719d911017c592", true), (String(repeating: "00", count: 16), false),
        ] {
            var options = CopyOptions()
            options.overwrite = true
            options.checksums.add(try Checksum(digest), for: "")
            let job = CopyJob(
                store: store, destination: folder.path + (path.isEmpty ? "/file" : ""), options: options)
            job.add(try item(store, "d/a", path))
            let counts = job.finish()
            #expect(counts.files == (isRight ? 1 : 0))
            #expect(counts.failures.map(\.kind) == (isRight ? [] : [.final]))
        }
    }

    @Test("C9: a single object's checksum isn't passed by the others of a prefix")
    func ofOneAmongMany() throws {
        defer { store.stop() }
        store.put("a", Array("hello".utf8))
        store.put("b", Array("world".utf8))
        var options = oneAtATime
        options.checksums.add(try Checksum("5d41402abc4b2a76b9719d911017c592"), for: "")
        let counts = run(options, [try item(store, "a"), try item(store, "b")])
        #expect(counts.files == 1 && counts.failures.map(\.path) == ["b"] && counts.failures.first?.kind == .final)
        #expect(folder.names() == ["a"])
    }

    @Test("C7: right checksums let files of all sizes through, and a file in the list must be there")
    func matches() throws {
        defer { store.stop() }
        let part = Int(PartFile.partBytes)
        var list = ""
        var items: [CopyItem] = []
        for size in [0, 5, 2 * part + 17] {
            let bytes = pattern(size, seed: 9)
            store.put("d/\(size)", bytes)
            var hasher = Hasher(.sha256)
            bytes.withUnsafeBytes { hasher.add($0) }
            list += "\(Checksum(.sha256, hasher.finish()))  d/\(size)\n"
            items.append(try item(store, "d/\(size)"))
        }
        var options = CopyOptions()
        options.checksums = try ChecksumList(list)
        #expect(run(options, items).failures.isEmpty)
        options.checksums = try ChecksumList(list + String(repeating: "00", count: 20) + "  d/missing\n")
        let failures = run(options, items).failures
        #expect(failures.map(\.path) == ["d/missing"] && failures.first?.kind == .final)
    }

    @Test("C7: what a store keeps of an object is compared where it says something")
    func stored() throws {
        var metadata = ObjectMetadata(size: 9, etag: "25f9e794323b453885f5181f1b624d0b")
        #expect(StoredChecksum.choose(metadata)?.description == "md5:25f9e794323b453885f5181f1b624d0b")
        metadata.encryption = "aws:kms"
        #expect(StoredChecksum.choose(metadata) == nil)
        metadata.checksums = ["crc32c": "4waSgw=="]
        #expect(StoredChecksum.choose(metadata)?.description == "crc32c:e3069283")
        #expect(StoredChecksum.choose(ObjectMetadata(size: 9, etag: "25f9e794323b453885f5181f1b624d0b-2")) == nil)
        defer { store.stop() }
        // This store's ETags are no MD5 of the bytes, so the comparison fails.
        store.put(
            ObjectKey("a"), StoredObject(.bytes(Array("hello".utf8)), etag: String(repeating: "0", count: 32)))
        var options = CopyOptions()
        options.verifiesStored = true
        #expect(run(options, [try item(store, "a")]).failures.first?.kind == .final)
    }
}

struct ChangingSourceTests {
    private let store = MemoryStore()
    private let folder = Folder()

    @Test("an object that is replaced while it is copied is copied anew, whole")
    func restart() throws {
        defer { store.stop() }
        let size = 3 * Int(PartFile.partBytes)
        store.put("big", pattern(size, seed: 1))
        let stale = try item(store, "big")
        store.put("big", pattern(size, seed: 2))
        let job = CopyJob(store: store, destination: folder.path)
        job.add(stale)
        let counts = job.finish()
        #expect(counts.failures.isEmpty && counts.restarts == 1 && counts.files == 1)
        #expect(folder.holds("big", pattern(size, seed: 2)))
        #expect(folder.names() == ["big"])
        #expect(counts.bytesDone == UInt64(size))
    }

    @Test("a directory that is a symbolic link isn't followed")
    func links() throws {
        defer { store.stop() }
        let outside = Folder()
        #expect(symlink(outside.path, folder.path + "/d") == 0)
        store.put("d/a", Array("x".utf8))
        let job = CopyJob(store: store, destination: folder.path)
        job.add(try item(store, "d/a"))
        #expect(job.finish().failures.count == 1)
        #expect(outside.names().isEmpty)
    }
}
