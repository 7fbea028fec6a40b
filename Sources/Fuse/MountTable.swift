import Glibc

/// One line of /proc/self/mountinfo.
public struct MountEntry: Sendable, Equatable {
    public var id: Int
    public var parentID: Int
    public var major: UInt32
    public var minor: UInt32
    /// Absolute, unescaped.
    public var mountPoint: String
    /// Of this mount: "ro,nosuid,…"
    public var options: String
    /// "fuse.millrace" for ours.
    public var type: String
    public var source: String
    /// Of the superblock.
    public var superOptions: String

    /// The name of the connection's folder in /sys/fs/fuse/connections.
    public var connection: UInt32 { major << 20 | minor }
    /// The device's number as stat(2) shows it.
    public var device: UInt { UInt(minor & 0xff) | UInt(major & 0xfff) << 8 | UInt(minor & ~0xff) << 12 }
    public var isMillrace: Bool { type == Mounter.type }
}

/// What is mounted, as the kernel lists it: reading this never touches a mount, so it can't hang on a dead one.
public enum MountTable {
    /// Every mount of this process's namespace, in mounting order.
    public static func current() -> [MountEntry] { parse(readWholeFile("/proc/self/mountinfo") ?? []) }

    /// The mount that is seen at `path` (absolute, without symbolic links): the last one made there.
    public static func entry(at path: String) -> MountEntry? { current().last { $0.mountPoint == path } }

    static func parse(_ bytes: [UInt8]) -> [MountEntry] {
        bytes.split(separator: 0x0a).compactMap { line in
            let fields = line.split(separator: 0x20, omittingEmptySubsequences: false)
            // "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw"; optional fields end at the dash.
            guard fields.count >= 10, let dash = fields.dropFirst(6).firstIndex(where: { $0.elementsEqual([0x2d]) }),
                fields.count > dash + 3, let id = Int(text(fields[0])), let parent = Int(text(fields[1]))
            else { return nil }
            let device = text(fields[2]).split(separator: ":").compactMap { UInt32($0) }
            guard device.count == 2 else { return nil }
            return MountEntry(
                id: id, parentID: parent, major: device[0], minor: device[1], mountPoint: unescaped(fields[4]),
                options: text(fields[5]), type: text(fields[dash + 1]), source: unescaped(fields[dash + 2]),
                superOptions: text(fields[dash + 3]))
        }
    }

    private static func text(_ field: ArraySlice<UInt8>) -> String { String(decoding: field, as: UTF8.self) }

    /// The kernel writes space, tab, newline and backslash as three octal digits.
    private static func unescaped(_ field: ArraySlice<UInt8>) -> String {
        var out: [UInt8] = []
        var i = field.startIndex
        while i < field.endIndex {
            let digits = field[min(i + 1, field.endIndex)..<min(i + 4, field.endIndex)]
            if field[i] == 0x5c, digits.count == 3, digits.allSatisfy({ 0x30...0x37 ~= $0 }) {
                out.append(UInt8(truncatingIfNeeded: digits.reduce(0) { $0 * 8 + Int($1 - 0x30) }))
                i += 4
            } else {
                out.append(field[i])
                i += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

/// A file of the kernel's that says nothing of its size; nil where it can't be read.
public func readWholeFile(_ path: String) -> [UInt8]? {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return nil }
    defer { close(fd) }
    var out: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let n = Glibc.read(fd, &chunk, chunk.count)
        if n < 0 && errno == EINTR { continue }
        if n < 0 { return nil }
        if n == 0 { return out }
        out.append(contentsOf: chunk[0..<n])
    }
}
