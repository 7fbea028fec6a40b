import Glibc

/// One line of /proc/self/mountinfo.
struct MountInfo: Equatable {
    var id: UInt64
    var major: UInt32
    var minor: UInt32
    var root: String
    var mountPoint: String
    var fileSystem: String
    var source: String

    /// Nil where the line is none.
    init?(line: some StringProtocol) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 10, let dash = words.dropFirst(6).firstIndex(of: "-"), words.count > dash + 2,
            let id = UInt64(words[0])
        else { return nil }
        let device = words[2].split(separator: ":")
        guard device.count == 2, let major = UInt32(device[0]), let minor = UInt32(device[1]) else { return nil }
        self.id = id
        self.major = major
        self.minor = minor
        root = Self.unescaped(words[3])
        mountPoint = Self.unescaped(words[4])
        fileSystem = String(words[dash + 1])
        source = Self.unescaped(words[dash + 2])
    }

    /// The kernel writes blanks, backslashes and newlines as three octal digits.
    static func unescaped(_ word: some StringProtocol) -> String {
        var bytes: [UInt8] = []
        var rest = Array(word.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x5c, rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Every mount that this process sees.
    static func all() throws(Refusal) -> [MountInfo] {
        let file = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .system("open /proc/self/mountinfo", errno) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let n = read(file, &buffer, buffer.count)
            if n < 0 && errno == EINTR { continue }
            guard n >= 0 else { throw .system("read /proc/self/mountinfo", errno) }
            if n == 0 { break }
            bytes += buffer.prefix(n)
        }
        return bytes.split(separator: 0x0a).compactMap { MountInfo(line: String(decoding: $0, as: UTF8.self)) }
    }
}
