import S3
import SystemPackage

/// Fetches a manifest from an object store into memory: one HEAD and one GET.
public enum ManifestDownload {
    /// A manifest of a hundred million objects is about so large.
    static let maxBytes: UInt64 = 4 << 30

    /// `completion` is called on a transfer thread.
    public static func fetch(
        _ key: ObjectKey, from store: any ObjectStore,
        _ completion: @escaping @Sendable (Result<Manifest, S3Error>) -> Void
    ) {
        store.head(key) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let metadata):
                guard metadata.size > 0, metadata.size <= maxBytes else {
                    return completion(.failure(.badAnswer("a manifest of \(metadata.size) bytes")))
                }
                let bytes: ManifestBytes
                do throws(Errno) { bytes = try ManifestBytes(count: Int(metadata.size)) } catch {
                    return completion(.failure(.badAnswer("no memory for a manifest of \(metadata.size) bytes")))
                }
                store.get(
                    GetRequest(key: key, range: 0..<metadata.size, etag: metadata.etag, size: metadata.size),
                    Receiver(bytes, completion))
            }
        }
    }

    private final class Receiver: GetReceiver {
        private let bytes: ManifestBytes
        private let completion: @Sendable (Result<Manifest, S3Error>) -> Void

        init(_ bytes: ManifestBytes, _ completion: @escaping @Sendable (Result<Manifest, S3Error>) -> Void) {
            self.bytes = bytes
            self.completion = completion
        }

        func received(_ received: UnsafeRawBufferPointer, at offset: UInt64) { bytes.fill(received, at: Int(offset)) }

        func finished(_ result: Result<ObjectMetadata, S3Error>) {
            completion(
                result.flatMap { _ in
                    do throws(ManifestError) { return .success(try Manifest(bytes)) } catch {
                        return .failure(.badAnswer("\(error)"))
                    }
                })
        }
    }
}
