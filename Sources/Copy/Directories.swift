import Glibc
import SystemPackage
import Threads

/// The directories below a destination: each is made or looked at once. One that is a symbolic link is refused, as what
/// is copied "below" it would end up elsewhere.
final class Directories: Sendable {
    private let destination: String
    private let known = Locked<Set<String>>([])

    init(destination: String) { self.destination = destination }

    /// Makes those that a file's relative path needs.
    func make(for relativePath: String) throws(CopyError) {
        guard let last = relativePath.lastIndex(of: "/") else { return }
        let whole = String(relativePath[..<last])
        if known.withLock({ $0.contains(whole) }) { return }
        var end = relativePath.startIndex
        while let slash = relativePath[end...].firstIndex(of: "/") {
            let directory = String(relativePath[..<slash])
            end = relativePath.index(after: slash)
            if known.withLock({ $0.contains(directory) }) { continue }
            try makeOne("\(destination)/\(directory)")
            _ = known.withLock { $0.insert(directory) }
        }
    }

    private func makeOne(_ path: String) throws(CopyError) {
        if mkdir(path, 0o777) == 0 { return }
        guard errno == EEXIST else { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
        var status = stat()
        guard lstat(path, &status) == 0 else { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return
        case S_IFLNK:
            throw CopyError(path: path, reason: "it is a symbolic link, which could lead out of the destination")
        default: throw CopyError(path: path, reason: "it is a file where a directory must be")
        }
    }
}
