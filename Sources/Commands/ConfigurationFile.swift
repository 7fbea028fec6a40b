import Glibc
import S3

/// The configuration file: lines `name = value`, before any section for every command, in `[mount]` for one.
enum ConfigurationFile {
    /// Reads the file that was typed, else MILLRACE_CONFIG's, else ~/.config/millrace/config where there is one.
    ///
    /// - Throws: `Failure` where a file that was asked for can't be read, or a line makes no sense.
    static func read(typed: String?, environment: [String: String]) throws -> [String: [String: String]] {
        if let path = typed ?? environment["MILLRACE_CONFIG"] { return try parse(path, isAskedFor: true) }
        guard let home = environment["HOME"] else { return [:] }
        let base = environment["XDG_CONFIG_HOME"] ?? "\(home)/.config"
        return try parse("\(base)/millrace/config", isAskedFor: false)
    }

    private static func parse(_ path: String, isAskedFor: Bool) throws -> [String: [String: String]] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let reason = errno
            if !isAskedFor && (reason == ENOENT || reason == ENOTDIR || reason == EACCES) { return [:] }
            throw Failure(
                "cannot read the configuration file \(path)", because: String(cString: strerror(reason)),
                fix: "give --config (or MILLRACE_CONFIG) a file that can be read, or leave it out")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let n = Glibc.read(descriptor, &bytes, bytes.count)
        guard n >= 0, n < bytes.count else {
            throw Failure(
                "cannot read the configuration file \(path)",
                because: n < 0 ? String(cString: strerror(errno)) : "it has more than 64 KiB",
                fix: "give --config a file of lines such as region = eu-1")
        }
        do {
            var sections: [String: [String: String]] = [:]
            for section in try INIFile(Array(bytes[..<n]), name: path).sections {
                for entry in section.entries { sections[section.name, default: [:]][entry.key] = entry.value }
            }
            return sections
        } catch {
            throw Failure(
                "configuration file \(path)", because: "\(error)",
                fix: "write lines such as region = eu-1, and sections such as [mount]")
        }
    }
}
