import ArgumentParser
import Controller
import Glibc
import Kubernetes

/// Which cluster and which namespace, as kubectl's own flags say it.
struct Place: ParsableArguments {
    @Option(help: "A kubeconfig (default: KUBECONFIG, ~/.kube/config).")
    var kubeconfig: String?
    @Option(help: "A context of the kubeconfig.")
    var context: String?
    @Option(help: "The API server's URL, as of `kubectl proxy`, instead of the kubeconfig's.")
    var server: String?
    @Option(name: [.customShort("n"), .long], help: "The namespace (default: the context's).")
    var namespace: String?

    struct Session {
        var client: Client
        var namespace: String

        /// `name` here, or `namespace/name`.
        func key(_ text: String) throws(Mistake) -> ObjectKey {
            guard let key = ObjectKey(reference: text, defaultNamespace: namespace) else {
                throw Mistake("\"\(text)\" isn't a name, nor namespace/name")
            }
            return key
        }
    }

    func session() throws -> Session {
        if let server {
            return Session(
                client: Client(
                    transport: CurlTransport(Configuration(server: server)), fieldManager: "kubectl-millrace"),
                namespace: namespace ?? "default")
        }
        var environment: [String: String] = [:]
        for name in ["KUBECONFIG", "HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
            environment[name] = getenv(name).map { String(cString: $0) }
        }
        let configuration = try Configuration.find(kubeconfig: kubeconfig, context: context, environment: environment)
        return Session(
            client: Client(transport: CurlTransport(configuration), fieldManager: "kubectl-millrace"),
            namespace: namespace ?? configuration.namespace)
    }
}

/// Something that the person at the terminal can change: said in one line, and the exit status is 1.
struct Mistake: Error, CustomStringConvertible, Equatable {
    var description: String
    init(_ description: String) { self.description = description }
}
