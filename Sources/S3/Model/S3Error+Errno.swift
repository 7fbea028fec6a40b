import SystemPackage

extension S3Error {
    /// What a program that reads the object through a file system gets.
    ///
    /// An archived object is EACCES: it is there, listing and stat work, and only who restores it may read it. All that
    /// says nothing of the file itself (network, server, credentials) is EIO.
    public var errno: Errno {
        switch self {
        case .noSuchKey: .noSuchFileOrDirectory
        case .changed: .staleNFSFileHandle
        case .denied, .archived: .permissionDenied
        case .cancelled: .canceled
        case .noSuchBucket, .credentials, .badAnswer, .network, .timedOut, .status: .ioError
        }
    }
}
