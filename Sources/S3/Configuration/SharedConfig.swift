import SystemPackage

/// AWS' shared configuration: ~/.aws/config and ~/.aws/credentials, or what AWS_CONFIG_FILE and
/// AWS_SHARED_CREDENTIALS_FILE name.
public struct SharedConfig: Sendable {
    public let configPath: String
    public let credentialsPath: String
    private let config: INIFile?
    private let credentials: INIFile?

    /// A file that isn't there is empty; one that can't be read or understood is an error.
    public init(_ environment: Environment) throws(ConfigurationError) {
        let home = environment["HOME"] ?? "/root"
        configPath = Self.expand(environment["AWS_CONFIG_FILE"] ?? "~/.aws/config", home)
        credentialsPath = Self.expand(environment["AWS_SHARED_CREDENTIALS_FILE"] ?? "~/.aws/credentials", home)
        config = try Self.load(configPath)
        credentials = try Self.load(credentialsPath)
    }

    /// A profile's settings; nil: neither file has it. The credentials file goes before the configuration.
    public func profile(_ name: String) -> Profile? {
        let configured =
            config?.section("profile \(name)") ?? config?.section("profile \"\(name)\"")
            ?? (name == "default" ? config?.section("default") : nil)
        let keys = credentials?.section(name)
        if configured == nil && keys == nil { return nil }
        return Profile(name: name, sections: [keys, configured].compactMap { $0 }, shared: self)
    }

    public struct Profile: Sendable {
        public let name: String
        fileprivate let sections: [INIFile.Section]
        fileprivate let shared: SharedConfig

        public subscript(_ key: String) -> String? {
            for section in sections { if let value = section.value(key), !value.isEmpty { return value } }
            return nil
        }

        /// For people: "profile "x" of /root/.aws/config and /root/.aws/credentials".
        public var description: String { "profile \"\(name)\" of \(shared.files)" }
    }

    var files: String { "\(credentialsPath) and \(configPath)" }

    private static func expand(_ path: String, _ home: String) -> String {
        path.hasPrefix("~/") ? home + path.dropFirst() : path
    }

    private static func load(_ path: String) throws(ConfigurationError) -> INIFile? {
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try SmallFile.read(path)
        } catch {
            if error == .noSuchFileOrDirectory || error == .notDirectory { return nil }
            throw ConfigurationError("can't read \(path): \(error)")
        }
        do throws(INIError) { return try INIFile(bytes, name: path) } catch { throw ConfigurationError("\(error)") }
    }
}

/// What is wrong with a setting, where it stands, and what to do.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}
