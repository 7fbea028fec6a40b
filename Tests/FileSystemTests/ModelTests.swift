import Namespace
import S3
import SystemPackage
import TestSupport
import Testing

@testable import FileSystem

/// Random operations and changes of the bucket, against a model of what must be seen.
@Suite struct ModelTests {
    private struct Stored: Equatable {
        /// When it was put: the same bytes may come again, and a handle that was stale meanwhile stays so.
        var step: Int
        var seed: UInt64
        var size: UInt64
    }
    private struct Handle {
        var file: OpenFile
        var name: String
        var pinned: Stored
    }

    private static let everything = FileSystemOptions(scope: "s", bucket: "b")
    private static let nothing = FileSystemOptions(
        scope: "s", bucket: "b", readAheadBytes: 0, wholeObjectBytes: 0, nextFiles: 0, passesThrough: false)

    @Test(arguments: [true, false])
    func whatIsReadIsWhatIsThereOrStale(hasAllFeatures: Bool) throws {
        var random = Seeded(Seeded.seed)
        let f = Fixture(
            memory: 16 << 20, policy: MetadataPolicy(ttlMs: 0, negativeTTLMs: 0),
            options: hasAllFeatures ? Self.everything : Self.nothing)
        var model: [String: Stored] = [:]
        var handles: [Handle] = []
        var reads = 0
        var stale = 0
        let names = (0..<12).map { "file-\($0)" }
        for step in 0..<4000 {
            let name = names.randomElement(using: &random)!
            switch Int.random(in: 0..<20, using: &random) {
            case 0:
                let sizes: [UInt64] = [0, 1, 65536, 65537, 100_000, 9 << 20, 20 << 20]
                let stored = Stored(
                    step: step, seed: UInt64.random(in: 1...3, using: &random),
                    size: sizes.randomElement(using: &random)!)
                f.store.put(name, .generated(size: stored.size, seed: stored.seed))
                model[name] = stored
            case 1:
                f.store.delete(name)
                model[name] = nil
            case 2..<7:
                switch f.open(name) {
                case .success(let file):
                    #expect(file.version.size == model[name]?.size, "step \(step) \(Seeded.hint)")
                    if let stored = model[name] {
                        handles.append(Handle(file: file, name: name, pinned: stored))
                    } else {
                        file.close()
                    }
                case .failure(let errno):
                    #expect(
                        errno == .noSuchFileOrDirectory && model[name] == nil, "step \(step) \(errno) \(Seeded.hint)")
                }
            case 7 where !handles.isEmpty:
                handles.remove(at: Int.random(in: 0..<handles.count, using: &random)).file.close()
            default:
                guard let handle = handles.randomElement(using: &random) else { continue }
                let size = handle.pinned.size
                let offset = UInt64.random(in: 0...size, using: &random)
                let count = Int.random(in: 1...(1 << 20), using: &random)
                let answer = f.read(handle.file, offset, count)
                reads += 1
                if answer == .failed(.staleNFSFileHandle) {
                    stale += 1
                    #expect(model[handle.name] != handle.pinned, "step \(step) \(Seeded.hint)")
                } else {
                    let end = min(size, offset + UInt64(count))
                    #expect(
                        answer == bytes(offset..<end, size: size, seed: handle.pinned.seed),
                        "step \(step) \(Seeded.hint)")
                }
            }
        }
        #expect(reads > 1000 && stale > 0)
        for handle in handles { handle.file.close() }
        f.settle()
        #expect(f.isAtRest)
    }
}
