import S3
import Threads

/// The object beside a Dataset's manifests that says which revision is the newest: its ID and a line end. It is the only
/// one there that is ever replaced.
public enum RevisionPointer {
    static let maxBytes: UInt64 = 65

    public static func bytes(of id: String) -> [UInt8] { Array("\(id)\n".utf8) }

    /// The ID; nil where the bytes are something else.
    public static func id(in bytes: [UInt8]) -> String? {
        guard bytes.last == UInt8(ascii: "\n"), (2...Int(maxBytes)).contains(bytes.count) else { return nil }
        let isID = bytes.dropLast().allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        }
        return isID ? String(decoding: bytes.dropLast(), as: UTF8.self) : nil
    }

    /// One HEAD and one GET, again where it is replaced between the two. `completion` is called on a transfer thread.
    public static func fetch(
        _ key: ObjectKey, from store: any ObjectStore, attempts: Int = 3,
        _ completion: @escaping @Sendable (Result<String, S3Error>) -> Void
    ) {
        store.head(key) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let metadata):
                guard metadata.size > 0, metadata.size <= maxBytes else {
                    return completion(.failure(.badAnswer("\(metadata.size) bytes, where a revision's name should be")))
                }
                let request = GetRequest(
                    key: key, range: 0..<metadata.size, etag: metadata.etag, size: metadata.size)
                store.get(
                    request,
                    Receiver(Int(metadata.size)) { result in
                        if case .failure(.changed) = result, attempts > 1 {
                            return fetch(key, from: store, attempts: attempts - 1, completion)
                        }
                        completion(
                            result.flatMap { bytes in
                                id(in: bytes).map { .success($0) }
                                    ?? .failure(.badAnswer("no revision's name in it"))
                            })
                    })
            }
        }
    }

    private final class Receiver: GetReceiver {
        private let bytes: Locked<[UInt8]>
        private let completion: @Sendable (Result<[UInt8], S3Error>) -> Void

        init(_ count: Int, _ completion: @escaping @Sendable (Result<[UInt8], S3Error>) -> Void) {
            bytes = Locked([UInt8](repeating: 0, count: count))
            self.completion = completion
        }

        func received(_ received: UnsafeRawBufferPointer, at offset: UInt64) {
            bytes.withLock { bytes in
                for (i, byte) in received.enumerated() where Int(offset) + i < bytes.count {
                    bytes[Int(offset) + i] = byte
                }
            }
        }

        func finished(_ result: Result<ObjectMetadata, S3Error>) {
            completion(result.map { _ in bytes.withLock { $0 } })
        }
    }
}
