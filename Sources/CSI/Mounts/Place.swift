import CLinux
import Glibc
import NodeProtocol

/// A device number as the kernel writes it.
struct Device: Hashable, CustomStringConvertible {
    var major: UInt32
    var minor: UInt32
    var description: String { "\(major):\(minor)" }
}

/// A name in a directory where a mount is to be or was made: held by its parent's descriptor, reached without a
/// symbolic link, looked at by calls that no file system's daemon answers.
struct Place {
    enum State: Equatable {
        case absent
        case directory
        /// The root of a mount.
        case mount(Device, mountID: UInt64)
        case link
        /// A file, a device…
        case other
    }

    static let subtype = "millrace"
    static let fileSystem = "fuse.millrace"
    /// Mounts on top of each other that are taken off in one go.
    private static let maxStacked = 64

    let path: String
    private let parent: Descriptor
    private let name: String

    /// Nil where the parent does not exist.
    init?(_ path: String) throws(Refusal) {
        self.path = path
        let slash = path.lastIndex(of: "/")!
        name = String(path[path.index(after: slash)...])
        let directory = slash == path.startIndex ? "/" : String(path[..<slash])
        let raw = clinux_open_beneath_no_links(AT_FDCWD, directory, O_DIRECTORY | O_RDONLY)
        if raw < 0 {
            switch errno {
            case ENOENT: return nil
            case ELOOP: throw .invalid("\(path): a symbolic link is on the way; give the path without it")
            case ENOTDIR: throw Refusal(.failedPrecondition, "\(path): a file is where a directory must be")
            case ENAMETOOLONG: throw .invalid("\(path): a name in it is too long")
            default: throw .system("open \(directory)", errno)
            }
        }
        parent = Descriptor(raw)
    }

    func state() throws(Refusal) -> State {
        var status = clinux_mount_stat()
        guard clinux_mount_stat(parent.raw, name, &status) == 0 else {
            if errno == ENOENT { return .absent }
            throw .system("look at \(path)", errno)
        }
        if status.is_mount_root != 0 {
            return .mount(Device(major: status.device_major, minor: status.device_minor), mountID: status.mount_id)
        }
        switch status.mode & S_IFMT {
        case S_IFDIR: return .directory
        case S_IFLNK: return .link
        default: return .other
        }
    }

    /// Makes the directory; one that is there is fine.
    func makeDirectory() throws(Refusal) {
        guard mkdirat(parent.raw, name, 0o750) == 0 || errno == EEXIST else { throw .system("make \(path)", errno) }
    }

    /// Opens the directory, or what is mounted on it, without reading it.
    func openRoot() throws(Refusal) -> Descriptor {
        let raw = clinux_open_beneath_no_links(parent.raw, name, O_DIRECTORY | clinux_open_path)
        guard raw >= 0 else { throw .system("open \(path)", errno) }
        return Descriptor(raw)
    }

    /// True where nothing is in the directory, which is not a mount.
    func isEmpty() throws(Refusal) -> Bool {
        let raw = clinux_open_beneath_no_links(parent.raw, name, O_DIRECTORY | O_RDONLY)
        guard raw >= 0 else { throw .system("open \(path)", errno) }
        guard let directory = fdopendir(raw) else {
            close(raw)
            throw .system("read \(path)", errno)
        }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let isDot = withUnsafeBytes(of: entry.pointee.d_name) { name in
                name[0] == 0x2e && (name[1] == 0 || (name[1] == 0x2e && name[2] == 0))
            }
            if !isDot { return false }
        }
        return true
    }

    /// Attaches a mount here.
    func attach(_ mount: Descriptor) throws(Refusal) {
        let target = try openRoot()
        guard clinux_attach_mount(mount.raw, target.raw) == 0 else { throw .system("mount on \(path)", errno) }
    }

    /// Takes off every mount here, lazily: who has files open in them keeps those, unless `aborts` ends them.
    func detachAll(aborts: Bool = false) throws(Refusal) {
        for _ in 0..<Self.maxStacked {
            guard case .mount = try state() else { return }
            guard clinux_detach_mount("/proc/self/fd/\(parent.raw)/\(name)", aborts ? 1 : 0) == 0 || errno == EINVAL
            else {
                throw .system("unmount \(path)", errno)
            }
        }
        throw Refusal(.internalError, "unmount \(path): still mounted after \(Self.maxStacked) times")
    }

    /// Removes the directory; one that is gone is fine.
    func removeDirectory() throws(Refusal) {
        guard unlinkat(parent.raw, name, AT_REMOVEDIR) != 0, errno != ENOENT else { return }
        if errno == ENOTEMPTY || errno == EEXIST {
            throw Refusal(.failedPrecondition, "\(path) has files that this driver did not put there; remove them")
        }
        throw .system("remove \(path)", errno)
    }
}

/// The device of an open directory, also of the root of a mount that is attached nowhere.
func device(of directory: Descriptor) throws(Refusal) -> Device {
    var status = clinux_mount_stat()
    guard clinux_mount_stat(directory.raw, "", &status) == 0 else { throw .system("look at a mount", errno) }
    return Device(major: status.device_major, minor: status.device_minor)
}
