import Fuse
import Glibc

/// Who uses a mount: open files, working directories, programs and mappings, from /proc, without touching the mount.
public struct MountHolder: Sendable, Equatable, CustomStringConvertible {
    public var pid: Int32
    public var name: String
    /// What holds it: "an open file", "its working directory", …
    public var use: String

    public var description: String { "\(name) (process \(pid), \(use))" }
}

public enum MountHolders {
    /// The processes that use the mount at `path`, as far as this one may see them. `device`: the mount's, as
    /// `MountEntry.device` has it, for mappings of files whose names don't tell.
    public static func find(_ path: String, device: UInt) -> [MountHolder] {
        names(in: "/proc").compactMap { Int32($0) }.sorted().compactMap { holder($0, path, device) }
    }

    /// ": sh (process 7, its working directory), …", or that there is no one to see.
    static func sentence(_ holders: [MountHolder]) -> String {
        if holders.isEmpty { return ", by a process that cannot be seen from here, or by a mount inside it" }
        let shown = holders.prefix(5).map(\.description).joined(separator: ", ")
        return " by \(shown)" + (holders.count > 5 ? " and \(holders.count - 5) more" : "")
    }

    private static func holder(_ pid: Int32, _ path: String, _ device: UInt) -> MountHolder? {
        guard let use = use(pid, path, device) else { return nil }
        let name = contents("/proc/\(pid)/comm").split(separator: "\n").first.map(String.init) ?? "?"
        return MountHolder(pid: pid, name: name, use: use)
    }

    private static func use(_ pid: Int32, _ path: String, _ device: UInt) -> String? {
        // readlink(2) of these shows the path without going there.
        if isInside(link("/proc/\(pid)/cwd"), path) { return "its working directory" }
        if isInside(link("/proc/\(pid)/root"), path) { return "its root directory" }
        if isInside(link("/proc/\(pid)/exe"), path) { return "its program" }
        if names(in: "/proc/\(pid)/fd").contains(where: { isInside(link("/proc/\(pid)/fd/\($0)"), path) }) {
            return "an open file"
        }
        guard device != 0 else { return nil }
        // "7f00-7f01 r--p 00000000 00:2f 7 /mnt/a": the device is the fourth field, in hexadecimal.
        let wanted = hexadecimal(device)
        let isMapped = contents("/proc/\(pid)/maps").split(separator: "\n").contains { line in
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            return fields.count >= 5 && fields[3] == wanted
        }
        return isMapped ? "a mapped file" : nil
    }

    private static func isInside(_ target: String?, _ path: String) -> Bool {
        guard let target else { return false }
        return target == path || target.hasPrefix(path + "/")
    }

    private static func hexadecimal(_ device: UInt) -> String {
        func two(_ n: UInt) -> String { n < 16 ? "0" + String(n, radix: 16) : String(n, radix: 16) }
        return two(device >> 8 & 0xfff) + ":" + two((device & 0xff) | (device >> 12 & 0xfff00))
    }

    private static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let n = readlink(path, &buffer, buffer.count)
        return n > 0 ? String(decoding: buffer[..<n].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }

    private static func contents(_ path: String) -> String {
        String(decoding: readWholeFile(path) ?? [], as: UTF8.self)
    }

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var out: [String] = []
        while let entry = readdir(stream) {
            out.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                })
        }
        return out
    }
}
