import CFuse
import Glibc
import SystemPackage
import Threads

/// Mounts and unmounts, as root by mount(2) and else through fusermount3.
///
/// What may touch a mount that hangs is done in a child process with a deadline; all else reads /proc and /sys.
public enum Mounter {
    /// The type that mountinfo shows.
    public static let type = "fuse.millrace"

    public struct Options: Sendable, Equatable {
        /// Shown as the mounted device, as "s3://bucket/prefix".
        public var source: String
        /// Other users than the one who mounts may use it. Without root that takes `user_allow_other` in fuse.conf.
        public var allowOther: Bool

        public init(source: String, allowOther: Bool = true) {
            self.source = source
            self.allowOther = allowOther
        }
    }

    /// Mounts at an existing directory, read-only. The descriptor is the connection: the mount is dead once it and its
    /// copies are closed.
    public static func mount(_ options: Options, at path: String) throws(MountError) -> FileDescriptor {
        try checkMountPoint(path)
        return geteuid() == 0 ? try mountAsRoot(options, path) : try Fusermount.mount(options, at: path)
    }

    private static func checkMountPoint(_ path: String) throws(MountError) {
        switch probe(path, deadline: .now.advanced(byMs: 5000)) {
        case nil: break
        case .noSuchFileOrDirectory:
            throw MountError(.badMountPoint, "\(path) does not exist; create it first: mkdir -p \(path)")
        case .socketNotConnected, .connectionAbort:
            throw MountError(.badMountPoint, "\(path) is a dead mount; detach it with: umount -l \(path)")
        case .timedOut:
            throw MountError(.badMountPoint, "\(path) does not answer; is a file system that hangs mounted there?")
        case let error?: throw MountError(.badMountPoint, "\(path) cannot be used: \(error)")
        }
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw MountError(.badMountPoint, "\(path) cannot be used: \(Errno(rawValue: errno))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw MountError(.badMountPoint, "\(path) is not a directory; mount on a directory")
        }
    }

    private static func mountAsRoot(_ options: Options, _ path: String) throws(MountError) -> FileDescriptor {
        let fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK)
        guard fd >= 0 else { throw deviceError(errno) }
        let data =
            "fd=\(fd),rootmode=40000,user_id=0,group_id=0,default_permissions"
            + (options.allowOther ? ",allow_other" : "")
        let flags = UInt(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME)
        guard Glibc.mount(options.source, path, type, flags, data) == 0 else {
            let error = errno
            close(fd)
            throw MountError(
                error == EPERM ? .notPermitted : .other,
                "cannot mount on \(path): \(Errno(rawValue: error))"
                    + (error == EPERM ? "; mounting takes CAP_SYS_ADMIN: give the container that, or privileged" : ""))
        }
        return FileDescriptor(rawValue: fd)
    }

    static func deviceError(_ error: Int32) -> MountError {
        switch error {
        case ENOENT, ENODEV, ENXIO:
            MountError(
                .noDevice, "there is no /dev/fuse: load it with `modprobe fuse`; in a container, pass the device in")
        default: MountError(.noDevice, "cannot open /dev/fuse: \(Errno(rawValue: error)); check its owner and mode")
        }
    }

    /// Unmounts. `lazily`: detaches it at once, and it ends with its last user; else a busy one throws `.busy`.
    public static func unmount(
        _ path: String, lazily: Bool = false, deadline: Instant = .now.advanced(byMs: 10_000)
    ) throws(MountError) {
        let error: Int32
        do {
            if geteuid() == 0 {
                let flags = Int32(UMOUNT_NOFOLLOW) | (lazily ? Int32(MNT_DETACH) : 0)
                error = try Child(fork: cfuse_child_umount(path, flags)).exitStatus(deadline: deadline)
            } else {
                return try Fusermount.unmount(path, lazily: lazily, deadline: deadline)
            }
        } catch let error as MountError {
            throw error
        } catch {
            throw MountError(.timedOut, "unmounting \(path) takes too long; detach it with: umount -l \(path)")
        }
        switch error {
        case 0: return
        case EBUSY: throw MountError(.busy, "\(path) is in use")
        case EINVAL, ENOENT: throw MountError(.notMounted, "\(path) is not mounted")
        default: throw MountError(.other, "cannot unmount \(path): \(Errno(rawValue: error))")
        }
    }

    /// What statfs(2) of a path says, found in a child process; ETIMEDOUT where it hangs. Nil: it works. (Unlike stat(2),
    /// whose answer the kernel may have kept, it always asks the file system.)
    public static func probe(_ path: String, deadline: Instant = .now.advanced(byMs: 2000)) -> Errno? {
        do throws(Errno) {
            let status = try Child(fork: cfuse_child_statfs(path)).exitStatus(deadline: deadline)
            return status == 0 ? nil : Errno(rawValue: status)
        } catch {
            return error
        }
    }

    /// How far the kernel reads ahead of a sequential reader, in KiB. Needs root; false where it could not be set.
    @discardableResult
    public static func setReadAhead(kib: Int, of entry: MountEntry) -> Bool {
        writeFile("/sys/class/bdi/\(entry.major):\(entry.minor)/read_ahead_kb", "\(kib)")
    }

    /// Ends a connection: every request under way and to come fails with ECONNABORTED or ENOTCONN. Needs root.
    ///
    /// Where fusectl isn't mounted, a forced unmount does it, which also unmounts what nobody uses.
    @discardableResult
    public static func abort(_ entry: MountEntry, deadline: Instant = .now.advanced(byMs: 5000)) -> Bool {
        if writeFile("/sys/fs/fuse/connections/\(entry.connection)/abort", "1") { return true }
        guard MountTable.entry(at: entry.mountPoint)?.id == entry.id else { return false }
        do throws(Errno) {
            let flags = Int32(MNT_FORCE | UMOUNT_NOFOLLOW)
            let status = try Child(fork: cfuse_child_umount(entry.mountPoint, flags)).exitStatus(deadline: deadline)
            return status == 0 || status == EBUSY
        } catch {
            return false
        }
    }

    private static func writeFile(_ path: String, _ text: String) -> Bool {
        let fd = open(path, O_WRONLY | O_CLOEXEC)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        return write(fd, text, text.utf8.count) == text.utf8.count
    }
}
