import Fuse
import Glibc
import Logging
import SystemPackage

/// A mount point's path as mountinfo shows it.
enum MountPath {
    /// Absolute and without symbolic links. Only the folder above is looked at: the path itself may be a dead mount,
    /// which nothing can be asked of.
    static func resolved(_ path: String) -> String {
        var path = path
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        let slash = path.lastIndex(of: "/")
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        if name == "." || name == ".." || name.isEmpty { return real(path) ?? path }
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        guard let folder = real(parent) else { return path }
        let plain = folder == "/" ? "/" + name : folder + "/" + name
        if MountTable.entry(at: plain) != nil { return plain }
        return real(plain) ?? plain
    }

    private static func real(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }
}

/// What a crash leaves: a mount that nobody serves any more. Every access to it fails with ENOTCONN.
enum DeadMount {
    /// Detaches a dead mount of ours. Throws where a living one is at the path.
    static func detach(at path: String, logger: Logger) throws(MountError) {
        // One may be mounted over another.
        for _ in 0..<16 {
            guard let entry = MountTable.entry(at: path), entry.isMillrace else { return }
            switch Mounter.probe(path) {
            case .socketNotConnected, .connectionAbort:
                try Mounter.unmount(path, lazily: true)
                logger.notice(
                    "Detached a dead mount that was left here.",
                    metadata: ["dir": "\(path)", "source": "\(entry.source)"])
            case nil:
                throw MountError(
                    .busy, "\(entry.source) is mounted on \(path) already; unmount it first: millrace unmount \(path)")
            case let error?:
                throw MountError(
                    .busy,
                    "\(entry.source) is mounted on \(path) and does not answer (\(error)); "
                        + "detach it with: millrace unmount --lazy \(path)")
            }
        }
    }
}
