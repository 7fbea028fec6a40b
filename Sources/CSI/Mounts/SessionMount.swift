import CLinux
import Glibc
import NodeProtocol

/// A session's own mount, in a directory that only the plugin sees: what pods get are copies of it.
struct SessionMount {
    let id: String
    let device: Device

    /// A new FUSE file system at `directory`/`id`, and the descriptor that it is to be served by. `readAheadBytes`
    /// where it isn't the engine's default.
    static func create(_ id: String, in directory: String) throws(Refusal) -> (mount: SessionMount, fuse: Descriptor) {
        let raw = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard raw >= 0 else { throw .system("open /dev/fuse (is the fuse module loaded?)", errno) }
        let fuse = Descriptor(raw)
        let mount = clinux_mount_fuse(raw, "millrace", Place.subtype)
        guard mount >= 0 else { throw .system("mount a FUSE file system (CAP_SYS_ADMIN is needed)", errno) }
        let root = Descriptor(mount)
        let place = try place(id, directory)
        try place.makeDirectory()
        do throws(Refusal) {
            try place.attach(root)
            return (SessionMount(id: id, device: try CSI.device(of: root)), fuse)
        } catch {
            try? place.removeDirectory()
            throw error
        }
    }

    private static func place(_ id: String, _ directory: String) throws(Refusal) -> Place {
        guard let place = try Place("\(directory)/\(id)") else {
            throw Refusal(.internalError, "\(directory) is gone; restart the plugin")
        }
        return place
    }

    /// Shows the session at a place: a copy of its mount, read-only. The copy is checked to be this very session's
    /// before anybody can see it, and it is attached by descriptor, so nothing can be swapped in between.
    func bind(at target: Place, flags: MountFlags, in directory: String) throws(Refusal) {
        let source = try Self.place(id, directory).openRoot()
        let copy = clinux_clone_mount(source.raw, flags.attributes)
        guard copy >= 0 else { throw .system("copy the mount of session \(id)", errno) }
        let mount = Descriptor(copy)
        let found = try CSI.device(of: mount)
        guard found == device else {
            throw Refusal(.internalError, "session \(id) is device \(device), but \(found) is mounted in its place")
        }
        try target.attach(mount)
    }

    /// True while the session's own mount is where it was made.
    func isMounted(in directory: String) -> Bool {
        guard let place = try? Self.place(id, directory), case .mount(let found, _)? = try? place.state() else {
            return false
        }
        return found == device
    }

    /// `aborts`: also ends the connection, so that a caller that hangs in it comes back with an error.
    static func remove(_ id: String, from directory: String, aborts: Bool = false) throws(Refusal) {
        let place = try place(id, directory)
        try place.detachAll(aborts: aborts)
        try place.removeDirectory()
    }

    /// The kernel's read-ahead of this file system. The default of 128 KiB makes a stream slow.
    func setReadAhead(bytes: Int) {
        let file = open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        let text = "\(max(4, bytes / 1024))\n"
        _ = text.withCString { write(file, $0, strlen($0)) }
    }
}
