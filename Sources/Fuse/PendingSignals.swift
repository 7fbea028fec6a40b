import Glibc

/// The signals that a thread has got and not yet taken.
///
/// The kernel tells a file system of any signal, but a program doesn't expect EINTR of a file: one that has a handler
/// for SIGCHLD or SIGWINCH reads on, as from a local disk. A signal that kills is there as SIGKILL for every thread.
struct PendingSignals {
    /// A bit for each signal, from 1 on.
    private let mask: UInt64

    /// Nil where there is no such thread, or none that can be seen.
    init?(ofThread thread: UInt32) {
        guard thread != 0, let status = readWholeFile("/proc/\(thread)/status") else { return nil }
        self.init(status: status)
    }

    /// `status`: the lines of /proc/N/status.
    init?(status: [UInt8]) {
        var fields: [Substring: UInt64] = [:]
        for line in String(decoding: status, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: "\t")
            if parts.count == 2, let value = UInt64(parts[1], radix: 16) { fields[parts[0]] = value }
        }
        guard let own = fields["SigPnd:"], let shared = fields["ShdPnd:"], let blocked = fields["SigBlk:"] else {
            return nil
        }
        mask = (own | shared) & ~blocked
    }

    /// Whether one of them ends the program, or is how people and supervisors ask it to end.
    var askToEnd: Bool {
        [SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGTERM].contains { mask & 1 << UInt64($0 - 1) != 0 }
    }
}
