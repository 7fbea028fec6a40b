import Fuse
import Glibc
import SystemPackage

/// What a directory must be like before something is mounted on it.
enum MountPoint {
    /// - Throws: `Failure` where mounting can't work; a dead Millrace mount is fine, it is taken over.
    static func check(_ path: String) throws {
        if MountTable.current().contains(where: { $0.mountPoint == path && $0.isMillrace }) {
            if let found = MountRecord.read(path), found.isAlive {
                throw Failure(
                    "cannot mount on \(path)",
                    because: "\(found.record.source) is mounted there already (process \(found.record.pid))",
                    fix: "use another directory, or first: millrace unmount \(path)")
            }
            return
        }
        var status = stat()
        guard stat(path, &status) == 0 else {
            let reason = errno
            throw Failure(
                "cannot mount on \(path)", because: Errno(rawValue: reason).description,
                fix: reason == ENOENT ? "make it first: mkdir -p \(path)" : "use a directory that you can reach")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure("cannot mount on \(path)", because: "it is not a directory", fix: "use an empty directory")
        }
        if try !isEmpty(path) {
            throw Failure(
                "cannot mount on \(path)", because: "the directory is not empty",
                fix: "use an empty directory: a mount would hide what is in this one")
        }
        try checkDevice()
    }

    /// /dev/fuse must be there and open.
    static func checkDevice() throws {
        let descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard descriptor < 0 else {
            close(descriptor)
            return
        }
        let reason = errno
        let fix =
            switch reason {
            case ENOENT, ENODEV, ENXIO: "load the module (modprobe fuse); in a container, give it the device /dev/fuse"
            case EACCES, EPERM: "allow it: chmod a+rw /dev/fuse, or in a container give it the device and CAP_SYS_ADMIN"
            default: "see /dev/fuse"
            }
        throw Failure("cannot open /dev/fuse", because: Errno(rawValue: reason).description, fix: fix)
    }

    static func fix(for error: any Error) -> String {
        getuid() == 0
            ? "run millrace doctor; in a container it needs CAP_SYS_ADMIN and /dev/fuse"
            : "install fuse3 (fusermount3), use a directory of your own, and for --allow-other set user_allow_other in "
                + "/etc/fuse.conf"
    }

    private static func isEmpty(_ path: String) throws -> Bool {
        guard let stream = opendir(path) else {
            throw Failure(
                "cannot mount on \(path)", because: Errno(rawValue: errno).description,
                fix: "use a directory that you can read")
        }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { return false }
        }
        return true
    }
}
