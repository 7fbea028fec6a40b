import BlockCache
import Namespace
import SystemPackage

/// Warming up, as extended attributes that nobody lists: reading one does it. So a container needs no right but that of
/// reading the file, and no byte of it goes through the container.
///
/// The value is "PRESENT SIZE": bytes of the file that the node has on disk, and all of them.
enum WarmUpRequest: Equatable {
    /// `user.millrace.cached`: only look.
    case look
    /// `user.millrace.warm.OFFSET`: bring the next `spanBytes` from there to the disk first.
    case warm(from: UInt64)

    /// Bytes that one request brings: some seconds' work even where S3 is slow, as it can't be interrupted.
    static let spanBytes: UInt64 = 16 << 20
    private static let prefix = "user.millrace.warm."

    init?(_ name: String) {
        if name == "user.millrace.cached" {
            self = .look
        } else if name.hasPrefix(Self.prefix), let offset = UInt64(name.dropFirst(Self.prefix.count)) {
            self = .warm(from: offset)
        } else {
            return nil
        }
    }
}

extension FileSystem {
    /// EOPNOTSUPP where nothing is kept on disk; ENOSPC where it can't take more.
    func answer(
        _ request: WarmUpRequest, _ inode: InodeNumber, _ done: @escaping @Sendable (Result<[UInt8], Errno>) -> Void
    ) {
        namespace.openVersion(inode) { [self] result in
            switch result {
            case .failure(let errno): done(.failure(errno == .isDirectory ? .notSupported : errno))
            case .success(let version) where !version.isReadable: done(.failure(.permissionDenied))
            case .success(let version) where version.size == 0: done(.success(Array("0 0".utf8)))
            case .success(let version):
                let object = object(version)
                let finish = { @Sendable [self] (present: Result<UInt64, Errno>) in
                    object.release()
                    if present == .failure(.staleNFSFileHandle) { becameStale(inode) }
                    done(present.map { Array("\($0) \(version.size)".utf8) })
                }
                switch request {
                case .look: finish(object.diskBytes.map { .success($0) } ?? .failure(.notSupported))
                case .warm(let start):
                    let end = min(version.size, start &+ WarmUpRequest.spanBytes)
                    object.warmUp(min(start, end)..<end, of: dataset, finish)
                }
            }
        }
    }
}
