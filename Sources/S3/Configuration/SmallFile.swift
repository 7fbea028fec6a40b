import Glibc
import SystemPackage

/// Configuration, tokens: files that are read whole.
enum SmallFile {
    static func read(_ path: String, maxBytes: Int = 1 << 20) throws(Errno) -> [UInt8] {
        do {
            // A named pipe without a writer must not block us.
            let file = try FileDescriptor.open(FilePath(path), .readOnly, options: [.closeOnExec, .nonBlocking])
            return try file.closeAfter {
                var bytes: [UInt8] = []
                var chunk = [UInt8](repeating: 0, count: 16 << 10)
                while true {
                    let count = try chunk.withUnsafeMutableBytes { try file.read(into: $0) }
                    if count == 0 { return bytes }
                    bytes += chunk[..<count]
                    if bytes.count > maxBytes { throw Errno.fileTooLarge }
                }
            }
        } catch let error as Errno {
            throw error
        } catch {
            throw .ioError
        }
    }

    /// As text without white space around it, as tokens are written; nil where it is empty or no UTF-8.
    static func readToken(_ path: String) throws(Errno) -> String? {
        let bytes = try read(path, maxBytes: 64 << 10)
        let trimmed = bytes.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed()
        guard !trimmed.isEmpty, let text = String(validating: trimmed, as: UTF8.self) else { return nil }
        return text.utf8.contains { $0 < 0x20 || $0 == 0x7F } ? nil : text
    }
}
