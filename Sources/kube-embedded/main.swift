import ArgumentParser
import Glibc
import Kubernetes
import KubernetesTestSupport

/// The API server stand-in as a program: prints its URL and serves until it is stopped.
struct KubeEmbedded: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kube-embedded", abstract: "An API server in memory, for tests. Nothing is checked or kept.")

    @Option(help: "Port on 127.0.0.1; 0: a free one.")
    var port = 0

    @Option(help: "Where to write a kubeconfig for it.")
    var kubeconfig: String?

    func run() throws {
        // Two of these are two clusters: no uid is in both.
        let server = APIServer(seed: UInt64.random(in: .min ... .max))
        guard let socket = SocketServer(server, port: port) else {
            throw ValidationError("can't listen on port \(port): \(String(cString: strerror(errno)))")
        }
        if let kubeconfig {
            let text = """
                apiVersion: v1
                kind: Config
                current-context: embedded
                contexts: [{name: embedded, context: {cluster: embedded}}]
                clusters: [{name: embedded, cluster: {server: "\(socket.url)"}}]

                """
            guard let file = fopen(kubeconfig, "w"), fputs(text, file) >= 0, fclose(file) == 0 else {
                throw ValidationError("can't write \(kubeconfig): \(String(cString: strerror(errno)))")
            }
        }
        print(socket.url)
        fflush(nil)
        while true { pause() }
    }
}

KubeEmbedded.main()
