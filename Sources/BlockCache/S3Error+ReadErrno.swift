import S3
import SystemPackage

extension S3Error {
    /// What a read of a pinned version answers.
    public var readErrno: Errno {
        switch self {
        // The version that was opened is gone, whether or not there is another.
        case .changed, .noSuchKey: .staleNFSFileHandle
        // Nobody who waits for bytes cancels them.
        case .cancelled: .ioError
        default: errno
        }
    }
}
