import SystemPackage

/// Why one file could not be copied.
public struct CopyError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// The other files may fare better, and this one when the copy is run again.
        case single
        /// The disk is full or can't be written: no other file will fare better now.
        case target
        /// Running it again changes nothing: a wrong checksum.
        case final
    }

    public var path: String
    public var reason: String
    public var kind: Kind

    init(path: String, reason: String, kind: Kind = .single) {
        self.path = path
        self.reason = reason
        self.kind = kind
    }

    init(path: String, errno: Errno) {
        self.path = path
        reason = errno.description
        let isTarget = [.noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .ioError].contains(errno)
        kind = isTarget ? .target : .single
        if errno == .noSpace || errno == .diskQuotaExceeded {
            reason += "; make room there and run the copy again: it goes on where it stopped"
        }
    }

    public var description: String { "\(path): \(reason)" }
}
