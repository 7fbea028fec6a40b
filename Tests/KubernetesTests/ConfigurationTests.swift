import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Kubernetes

@Suite struct ConfigurationTests {
    private let text = """
        apiVersion: v1
        kind: Config
        current-context: two
        contexts:
        - {name: one, context: {cluster: c1, user: u1}}
        - {name: two, context: {cluster: c2, user: u2, namespace: team}}
        clusters:
        - {name: c1, cluster: {server: "https://one:6443"}}
        - {name: c2, cluster: {server: "https://two:6443/", certificate-authority-data: Q0E=}}
        users:
        - {name: u1, user: {exec: {command: aws}}}
        - {name: u2, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
        """

    private func parse(_ text: String) throws(ConfigurationError) -> Configuration {
        try Configuration.parse(kubeconfig: text, path: "kc", directory: "/nowhere")
    }

    @Test func readsTheCurrentContext() throws {
        let configuration = try parse(text)
        #expect(configuration.server == "https://two:6443")
        #expect(configuration.certificateAuthority == "CA")
        #expect(configuration.clientCertificate == "CERT")
        #expect(configuration.clientKey == "KEY")
        #expect(configuration.namespace == "team")
    }

    @Test(arguments: [
        ("current-context: two", "current-context: one", "needs a plugin"),
        ("current-context: two", "current-context: none", "context none isn't there"),
        ("current-context: two", "x: y", "no current-context"),
        ("Q0E=", "'%%%'", "isn't base64"),
        ("\"https://two:6443/\"", "ftp://x", "must begin with https://"),
        ("user: u2", "user: u9", "user u9"),
    ]) func saysWhatIsWrong(_ old: String, _ new: String, _ expected: String) {
        let error = #expect(throws: ConfigurationError.self) { try parse(text.replacing(old, with: new)) }
        #expect(error?.description.contains(expected) == true)
        #expect(error?.description.contains("S0VZ") == false)
    }

    @Test func aMissingFileIsNamed() {
        let error = #expect(throws: ConfigurationError.self) { try Configuration.load(kubeconfig: "/nowhere/config") }
        #expect(error?.description == "kubeconfig: /nowhere/config can't be read")
    }

    @Test func tokenFilesAreReadAgainAfterTheyRotated() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(
            "token-\(UInt64.random(in: 0 ... .max))"
        ).path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("first\n".utf8).write(to: URL(filePath: path))
        let server = APIServer()
        let socket = try #require(SocketServer(server))
        server.require(tokens: ["first"])
        var configuration = Configuration(server: socket.url)
        configuration.credentials = .tokenFile(path)
        let client = Client(transport: CurlTransport(configuration), fieldManager: "test")
        _ = try await client.get(Namespace.self, "default")
        // The kubelet writes a new one, and the server stops taking the old one.
        try Data("second".utf8).write(to: URL(filePath: path))
        server.require(tokens: ["second"])
        let refused = await failure { () async throws(APIError) in try await client.get(Namespace.self, "default") }
        #expect(refused.code == 401)
        _ = try await client.get(Namespace.self, "default")
        socket.stop()
        server.stop()
    }
}
