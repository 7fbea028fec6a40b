import CFuse
import Glibc
import SystemPackage
import Threads

/// Mounting without root: the set-uid helper fusermount3 does it and sends the connection over a socket.
enum Fusermount {
    static func mount(_ options: Mounter.Options, at path: String) throws(MountError) -> FileDescriptor {
        var sockets: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &sockets) == 0 else {
            throw MountError(.other, "cannot make a socket: \(Errno(rawValue: errno))")
        }
        defer { for fd in sockets { close(fd) } }
        // fusermount3 splits its options at commas.
        let source = options.source.replacing("\\", with: "\\\\").replacing(",", with: "\\,")
        let mountOptions =
            "ro,nosuid,nodev,noatime,default_permissions,subtype=millrace,fsname=\(source)"
            + (options.allowOther ? ",allow_other" : "")
        let (status, words) = try run(
            ["fusermount3", "-o", mountOptions, "--", path], environment: ["_FUSE_COMMFD=3"],
            descriptors: [3: sockets[1]],
            deadline: .now.advanced(byMs: 10_000))
        guard status == 0 else {
            throw MountError(.notPermitted, "fusermount3 cannot mount on \(path): \(words)")
        }
        let fd = cfuse_receive_descriptor(sockets[0])
        guard fd >= 0 else { throw MountError(.other, "fusermount3 sent no connection: \(Errno(rawValue: -fd))") }
        return FileDescriptor(rawValue: fd)
    }

    static func unmount(_ path: String, lazily: Bool, deadline: Instant) throws(MountError) {
        let (status, words) = try run(
            ["fusermount3", "-u"] + (lazily ? ["-z"] : []) + ["--", path], environment: [], descriptors: [:],
            deadline: deadline)
        if status == 0 { return }
        if words.contains("busy") { throw MountError(.busy, "\(path) is in use") }
        if words.contains("not found") || words.contains("not mounted") {
            throw MountError(.notMounted, "\(path) is not mounted")
        }
        throw MountError(.other, "fusermount3 cannot unmount \(path): \(words)")
    }

    /// Runs it; its exit status and what it said.
    private static func run(
        _ arguments: [String], environment: [String], descriptors: [Int32: Int32], deadline: Instant
    ) throws(MountError) -> (Int32, String) {
        var ends: [Int32] = [0, 0]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw MountError(.other, "cannot make a socket pair: \(Errno(rawValue: errno))")
        }
        defer { for fd in ends { close(fd) } }
        do throws(Errno) {
            let child = try Child(
                arguments,
                environment: ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"] + environment,
                descriptors: descriptors.merging([2: ends[1]]) { a, _ in a })
            let status = try child.exitStatus(deadline: deadline)
            var words = [UInt8](repeating: 0, count: 4096)
            let n = read(ends[0], &words, words.count)
            let text = String(decoding: words.prefix(max(n, 0)), as: UTF8.self)
            return (status, text.replacing("fusermount3: ", with: "").split(separator: "\n").joined(separator: "; "))
        } catch .noSuchFileOrDirectory {
            throw MountError(.notPermitted, "fusermount3 is not installed; install the package fuse3, or run as root")
        } catch {
            throw MountError(.other, "fusermount3 failed: \(error)")
        }
    }
}
