import Glibc

/// Where a command's words go. (C's `stdout` and `stderr` are variables that Swift 6 can't prove safe.)
enum Output {
    static func out(_ text: String) throws {
        if !write(text, to: 1) { throw Failure("standard output", because: "it is closed", fix: "read all of it") }
    }

    static func error(_ text: String) { _ = write(text, to: 2) }

    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let n = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
                if n < 0 && errno == EINTR { continue }
                guard n > 0 else { return false }
                done += n
            }
            return true
        }
    }
}
