import CSIProtocol
import Controller
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Logging

/// What can be wrong with a CSI endpoint, or with the key of its volume ids.
public struct EndpointProblem: Error, CustomStringConvertible {
    public var description: String
}

/// CSI's Identity and Controller services on a unix socket.
public struct CSIServer: Sendable {
    private let path: String
    private let server: GRPCServer<HTTP2ServerTransport.Posix>

    /// `endpoint`: `unix:///absolute/path`, or the path.
    public init(
        endpoint: String, driver: String, version: String, volumes: VolumeService,
        isReady: @escaping @Sendable () -> Bool
    ) throws(EndpointProblem) {
        var path = endpoint
        if path.hasPrefix("unix://") { path.removeFirst("unix://".count) }
        guard path.hasPrefix("/") else {
            throw EndpointProblem(description: "--csi-endpoint \(endpoint) must be unix:///absolute/path")
        }
        guard path.utf8.count < 108 else {
            throw EndpointProblem(description: "--csi-endpoint: a socket's path must be shorter than 108 bytes")
        }
        self.path = path
        server = GRPCServer(
            transport: HTTP2ServerTransport.Posix(
                address: .unixDomainSocket(path: path), transportSecurity: .plaintext,
                // Said aloud: left out, clients take it for no limit and are cut off at HTTP/2's default of 100.
                config: .defaults { $0.http2.maxConcurrentStreams = 256 }),
            services: [
                IdentityService(driver: driver, version: version, isReady: isReady), ControllerRPC(volumes: volumes),
            ])
    }

    /// Serves until the task is cancelled. A socket that a dead process left is replaced.
    public func run() async throws {
        try removeLeftover()
        defer { unlink(path) }
        do {
            try await withTaskCancellationHandler {
                try await server.serve()
            } onCancel: {
                server.beginGracefulShutdown()
            }
        } catch {
            // The transport throws when its task is cancelled, which is how it is meant to end.
            guard Task.isCancelled else { throw error }
        }
    }

    private func removeLeftover() throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw EndpointProblem(description: "--csi-endpoint: \(path) is there and isn't a socket")
        }
        unlink(path)
    }
}
