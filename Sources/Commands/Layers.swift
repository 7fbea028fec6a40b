import S3

/// Options from the environment and a configuration file, put behind those that were typed.
///
/// The order of precedence is the usual one: what was typed, then `MILLRACE_OPTION_NAME`, then the file's section of the
/// command, then the file's lines before any section. A flag is set by `true`, `yes`, `on` or `1`.
struct Layers {
    struct Option: Sendable {
        var name: String
        var isFlag: Bool
    }

    /// The options that may come from elsewhere, by command; nil is every command.
    static let connection: [Option] = [
        Option(name: "endpoint", isFlag: false), Option(name: "region", isFlag: false),
        Option(name: "path-style", isFlag: true), Option(name: "virtual-host-style", isFlag: true),
        Option(name: "profile", isFlag: false), Option(name: "anonymous", isFlag: true),
        Option(name: "ca-bundle", isFlag: false), Option(name: "proxy", isFlag: false),
        Option(name: "requester-pays", isFlag: true), Option(name: "log-level", isFlag: false),
        Option(name: "log-format", isFlag: false),
    ]
    static let mount: [Option] =
        connection + [
            Option(name: "log-file", isFlag: false),
            Option(name: "read-ahead", isFlag: false), Option(name: "memory", isFlag: false),
            Option(name: "cache-dir", isFlag: false), Option(name: "cache-size", isFlag: false),
            Option(name: "cache-min-free", isFlag: false), Option(name: "cache-priority", isFlag: false),
            Option(name: "cache-quota", isFlag: false), Option(name: "cache-pin", isFlag: true),
            Option(name: "uid", isFlag: false), Option(name: "gid", isFlag: false),
            Option(name: "file-mode", isFlag: false), Option(name: "dir-mode", isFlag: false),
            Option(name: "allow-other", isFlag: true), Option(name: "metadata-ttl", isFlag: false),
            Option(name: "immutable", isFlag: true), Option(name: "metrics", isFlag: false),
            Option(name: "slow-request", isFlag: false), Option(name: "request-timeout", isFlag: false),
            Option(name: "page-cache", isFlag: false), Option(name: "survive", isFlag: true),
            Option(name: "revision", isFlag: false), Option(name: "headers", isFlag: false),
        ]
    /// Pairs where the typed one silences the other wherever it comes from.
    private static let opposites = [
        "path-style": "virtual-host-style", "virtual-host-style": "path-style",
        "immutable": "metadata-ttl", "metadata-ttl": "immutable", "anonymous": "profile", "profile": "anonymous",
    ]

    var environment: [String: String]
    /// Lines of the configuration file: section ("" before any), name, value.
    var file: [String: [String: String]]

    /// The arguments of `command` with what the layers add.
    func applied(to arguments: [String], command: String) throws -> [String] {
        let options = command == "mount" ? Self.mount : Self.connection
        let known = Set(Self.mount.map(\.name))
        for (section, lines) in file {
            guard section.isEmpty || ["mount", "ls", "cp", "doctor", "snapshot"].contains(section) else {
                throw Failure(
                    "configuration file", because: "it has a section [\(section)] that no command has",
                    fix: "use [mount], [ls], [cp], [doctor] or [snapshot], or put the lines before any section")
            }
            if let unknown = lines.keys.sorted().first(where: { !known.contains($0) }) {
                throw Failure(
                    "configuration file", because: "it sets \(unknown), which no option is called",
                    fix: "see `millrace mount --help`; names are written without the leading dashes")
            }
        }
        var added: [String] = []
        for option in options where !isGiven(option.name, in: arguments) {
            if let opposite = Self.opposites[option.name], isGiven(opposite, in: arguments) { continue }
            let variable = "MILLRACE_" + option.name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
            guard let value = environment[variable] ?? file[command]?[option.name] ?? file[""]?[option.name] else {
                continue
            }
            if !option.isFlag {
                added.append("--\(option.name)=\(value)")
            } else if ["true", "yes", "on", "1"].contains(value.lowercased()) {
                added.append("--\(option.name)")
            } else if !["false", "no", "off", "0", ""].contains(value.lowercased()) {
                throw Failure(
                    "option \(option.name)", because: "\"\(value)\" is neither true nor false",
                    fix: "set \(variable), or the line in the configuration file, to true or false")
            }
        }
        // A `--` ends the options: what is added goes before it.
        let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
        return arguments[..<end] + added + arguments[end...]
    }

    private func isGiven(_ name: String, in arguments: [String]) -> Bool {
        arguments.prefix { $0 != "--" }.contains { $0 == "--\(name)" || $0.hasPrefix("--\(name)=") }
    }
}
