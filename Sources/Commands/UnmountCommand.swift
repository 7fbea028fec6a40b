import ArgumentParser
import Fuse
import Glibc
import Mount
import Threads

struct UnmountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unmount", abstract: "Unmount a directory.",
        discussion: "A busy mount stays, and who holds it is said. The mount of a process that died is removed.")

    @Argument(help: ArgumentHelp("The directory.", valueName: "dir"), completion: .directory)
    var directory: String

    @Flag(help: "Take it out of the tree now, and let it go when its last user is done.")
    var lazy = false

    @Flag(help: "Only where the process that served it is dead; anything else is left, without an error.")
    var ifDead = false

    func run() throws {
        let path = absolute(directory)
        guard let entry = MountTable.current().last(where: { $0.mountPoint == path }) else {
            if ifDead { return }
            throw Failure(
                "cannot unmount \(path)", because: "nothing is mounted there", fix: "see the mounts: millrace status")
        }
        guard entry.isMillrace else {
            if ifDead { return }
            throw Failure(
                "cannot unmount \(path)", because: "it is a mount of type \(entry.type), not one of Millrace's",
                fix: "use umount for it")
        }
        let record = MountRecord.read(path)
        if ifDead, record?.isAlive ?? false { return }
        do {
            try Mounter.unmount(path, lazily: lazy || record.map { !$0.isAlive } ?? false)
        } catch {
            let holders = MountHolders.find(path, device: entry.device)
            let who = holders.isEmpty ? "" : ": \(holders.prefix(5).map(\.description).joined(separator: ", "))"
            throw Failure(
                "cannot unmount \(path)", because: "\(error)\(who)",
                fix: "end what uses it, or unmount with --lazy")
        }
        if let record, record.isAlive {
            waitForEnd(of: record.record.pid)
        } else {
            MountRecord.remove(path)
            Survival.drop(path)
        }
    }

    /// The serving process notices and ends; wait a little so that a script's next step finds it gone.
    private func waitForEnd(of pid: pid_t) {
        let deadline = Instant.now.advanced(byMs: 5000)
        while Instant.now < deadline, kill(pid, 0) == 0 { usleep(10_000) }
    }
}

/// An absolute path without symbolic links in its directories, also where the last part is a dead mount (which stat and
/// realpath would fail on).
func absolute(_ path: String) -> String {
    var trimmed = path
    while trimmed.count > 1 && trimmed.hasSuffix("/") { trimmed.removeLast() }
    let slash = trimmed.lastIndex(of: "/")
    let parent = slash.map { $0 == trimmed.startIndex ? "/" : String(trimmed[..<$0]) } ?? "."
    let name = slash.map { String(trimmed[trimmed.index(after: $0)...]) } ?? trimmed
    guard name != "." && name != "..", let real = realpath(parent, nil) else {
        guard let real = realpath(trimmed, nil) else { return trimmed }
        defer { free(real) }
        return String(cString: real)
    }
    defer { free(real) }
    let base = String(cString: real)
    return name.isEmpty ? base : base == "/" ? "/\(name)" : "\(base)/\(name)"
}
