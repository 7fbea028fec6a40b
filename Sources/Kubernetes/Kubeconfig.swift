import FoundationEssentials
import Yams

/// What can be wrong with where to find an API server.
public struct ConfigurationError: Error, CustomStringConvertible, Equatable {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// How to reach an API server and who to be there.
public struct Configuration: Sendable, Equatable {
    public enum Credentials: Sendable, Equatable {
        case none
        case token(String)
        /// Read again every minute and after a 401, as the kubelet rotates it.
        case tokenFile(String)
    }

    /// `https://host:port`, without a trailing slash.
    public var server: String
    public var credentials = Credentials.none
    /// PEM text.
    public var certificateAuthority: String?
    public var clientCertificate: String?
    public var clientKey: String?
    public var skipsTLSVerification = false
    /// Of the current context, or of the pod.
    public var namespace = "default"

    public init(server: String) { self.server = server }

    static let serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// In this order: the kubeconfig given, `KUBECONFIG`, the pod's service account, `~/.kube/config`.
    /// `context`: another one than the kubeconfig's current context.
    public static func find(
        kubeconfig: String? = nil, context: String? = nil, environment: [String: String]
    ) throws(ConfigurationError) -> Self {
        if let path = kubeconfig ?? environment["KUBECONFIG"].flatMap({ $0.isEmpty ? nil : $0 }) {
            // kubectl merges a list of files; the first one that exists is meant here.
            let paths = path.split(separator: ":").map(String.init)
            return try load(
                kubeconfig: paths.first { FileManager.default.fileExists(atPath: $0) } ?? path, context: context)
        }
        if let host = environment["KUBERNETES_SERVICE_HOST"], let port = environment["KUBERNETES_SERVICE_PORT"] {
            return try inCluster(host: host, port: port, directory: serviceAccount)
        }
        if let home = environment["HOME"], FileManager.default.fileExists(atPath: "\(home)/.kube/config") {
            return try load(kubeconfig: "\(home)/.kube/config", context: context)
        }
        throw ConfigurationError(
            "no cluster: set --kubeconfig or KUBECONFIG, or run in a pod with a service account")
    }

    public static func inCluster(host: String, port: String, directory: String) throws(ConfigurationError) -> Self {
        let name = host.contains(":") ? "[\(host)]" : host
        var configuration = Configuration(server: "https://\(name):\(port)")
        configuration.credentials = .tokenFile("\(directory)/token")
        configuration.certificateAuthority = try read("\(directory)/ca.crt", "the service account's CA")
        configuration.namespace = (try? read("\(directory)/namespace", "the pod's namespace")) ?? "default"
        return configuration
    }

    /// A context of a kubeconfig, or its current one. Exec and auth-provider plugins aren't run.
    public static func load(kubeconfig path: String, context: String? = nil) throws(ConfigurationError) -> Self {
        let text = try read(path, "kubeconfig")
        let directory = path.contains("/") ? String(path[..<path.lastIndex(of: "/")!]) : "."
        return try parse(kubeconfig: text, path: path, directory: directory, context: context)
    }

    static func parse(
        kubeconfig text: String, path: String, directory: String, context wanted: String? = nil
    ) throws(ConfigurationError) -> Self {
        let file: Kubeconfig
        do { file = try YAMLDecoder().decode(Kubeconfig.self, from: text) } catch {
            throw ConfigurationError("kubeconfig \(path) can't be read: \(error)")
        }
        guard let current = wanted ?? file.currentContext, !current.isEmpty else {
            throw ConfigurationError("kubeconfig \(path) has no current-context; run `kubectl config use-context NAME`")
        }
        guard let context = file.contexts?.first(where: { $0.name == current })?.context else {
            throw ConfigurationError("kubeconfig \(path): context \(current) isn't there")
        }
        guard let cluster = file.clusters?.first(where: { $0.name == context.cluster })?.cluster else {
            throw ConfigurationError("kubeconfig \(path): cluster \(context.cluster) of context \(current) isn't there")
        }
        var server = cluster.server
        while server.hasSuffix("/") { server.removeLast() }
        guard server.hasPrefix("https://") || server.hasPrefix("http://") else {
            throw ConfigurationError("kubeconfig \(path): server \(server) must begin with https:// or http://")
        }
        var configuration = Configuration(server: server)
        configuration.namespace = context.namespace ?? "default"
        guard (cluster.tlsServerName ?? "").isEmpty else {
            throw ConfigurationError("kubeconfig \(path): tls-server-name isn't supported; use the server's own name")
        }
        configuration.skipsTLSVerification = cluster.insecureSkipTlsVerify ?? false
        configuration.certificateAuthority = try pem(
            data: cluster.certificateAuthorityData, file: cluster.certificateAuthority, directory, "CA")
        guard let name = context.user else { return configuration }
        guard let user = file.users?.first(where: { $0.name == name })?.user else {
            throw ConfigurationError("kubeconfig \(path): user \(name) of context \(current) isn't there")
        }
        configuration.clientCertificate = try pem(
            data: user.clientCertificateData, file: user.clientCertificate, directory, "client certificate")
        configuration.clientKey = try pem(data: user.clientKeyData, file: user.clientKey, directory, "client key")
        if let token = user.token, !token.isEmpty {
            configuration.credentials = .token(token)
        } else if let file = user.tokenFile {
            configuration.credentials = .tokenFile(absolute(file, directory))
        } else if user.exec != nil || user.authProvider != nil {
            throw ConfigurationError(
                "kubeconfig \(path): user \(name) needs a plugin, which isn't run here; use a token or a certificate")
        }
        return configuration
    }

    private static func pem(
        data: String?, file: String?, _ directory: String, _ what: String
    ) throws(ConfigurationError) -> String? {
        if let data {
            guard let bytes = Data(base64Encoded: data) else {
                throw ConfigurationError("kubeconfig: the \(what)'s data isn't base64")
            }
            return String(decoding: bytes, as: UTF8.self)
        }
        return if let file { try read(absolute(file, directory), what) } else { nil }
    }

    private static func absolute(_ path: String, _ directory: String) -> String {
        path.hasPrefix("/") ? path : "\(directory)/\(path)"
    }

    private static func read(_ path: String, _ what: String) throws(ConfigurationError) -> String {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ConfigurationError("\(what): \(path) can't be read")
        }
        return String(decoding: data, as: UTF8.self)
    }
}

private struct Kubeconfig: Decodable {
    struct NamedCluster: Decodable {
        var name: String
        var cluster: Cluster
    }
    struct Cluster: Decodable {
        var server: String
        var certificateAuthority: String?
        var certificateAuthorityData: String?
        var insecureSkipTlsVerify: Bool?
        var tlsServerName: String?

        enum CodingKeys: String, CodingKey {
            case server
            case certificateAuthority = "certificate-authority"
            case certificateAuthorityData = "certificate-authority-data"
            case insecureSkipTlsVerify = "insecure-skip-tls-verify"
            case tlsServerName = "tls-server-name"
        }
    }
    struct NamedContext: Decodable {
        var name: String
        var context: Context
    }
    struct Context: Decodable {
        var cluster: String
        var user: String?
        var namespace: String?
    }
    struct NamedUser: Decodable {
        var name: String
        var user: User
    }
    struct Plugin: Decodable {}
    struct User: Decodable {
        var token: String?
        var tokenFile: String?
        var clientCertificate: String?
        var clientCertificateData: String?
        var clientKey: String?
        var clientKeyData: String?
        var exec: Plugin?
        var authProvider: Plugin?

        enum CodingKeys: String, CodingKey {
            case token, tokenFile, exec
            case clientCertificate = "client-certificate"
            case clientCertificateData = "client-certificate-data"
            case clientKey = "client-key"
            case clientKeyData = "client-key-data"
            case authProvider = "auth-provider"
        }
    }
    var currentContext: String?
    var clusters: [NamedCluster]?
    var contexts: [NamedContext]?
    var users: [NamedUser]?

    enum CodingKeys: String, CodingKey {
        case clusters, contexts, users
        case currentContext = "current-context"
    }
}
