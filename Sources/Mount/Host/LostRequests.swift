import Glibc
import Logging
import NodeProtocol
import Threads

/// Kernels before 6.9 don't ask again what a dead engine had read: those requests would hang for ever. Such a
/// connection is aborted, which fails them, and says so; it is left alone where nothing was lost.
enum LostRequests {
    /// What our engine has not answered by then was never asked of it.
    static let patienceMs = 20_000
    private static let looks = 5

    static func watch(_ record: SessionRecord, _ mounted: MountedSession, _ logger: Logger) {
        let directory = "/sys/fs/fuse/connections/\(record.connection)"
        _ = Thread("lost-requests") {
            usleep(UInt32(patienceMs) * 1_000)
            // A request that is counted between two reads of a moving number is not lost; one that always is, is.
            for _ in 0..<looks {
                guard let waiting = number(directory + "/waiting"), waiting > mounted.status.requestsInFlight else {
                    return
                }
                usleep(200_000)
            }
            logger.error(
                "requests were lost with the engine before, and this kernel (before 6.9) can't ask again: all fail now",
                metadata: ["session": "\(record.id)"])
            let file = open(directory + "/abort", O_WRONLY | O_CLOEXEC)
            guard file >= 0 else {
                logger.error("cannot abort the connection", metadata: ["file": "\(directory)/abort"])
                return
            }
            _ = write(file, "1", 1)
            close(file)
        }
    }

    private static func number(_ path: String) -> Int? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 32)
        let n = read(file, &bytes, bytes.count)
        return Int(String(decoding: bytes.prefix(max(0, n)).filter { $0 >= 0x30 && $0 <= 0x39 }, as: UTF8.self))
    }
}
