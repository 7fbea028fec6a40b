import Glibc
import PrometheusMetrics

/// Serves `GET /progress` beside /metrics and /healthz.
public final class ProgressServer: Sendable {
    private let server: MetricsServer

    /// `address`: "HOST:PORT"; port 0: a free one. `report` is asked on a thread of the server at each request.
    public init(
        address: String, metrics: Registry, report: @escaping @Sendable () -> ProgressReport
    ) throws(MetricsServer.Problem) {
        let page = MetricsServer.Page(path: "/progress", contentType: "application/json") { report().json + "\n" }
        server = try MetricsServer(address: address, registry: metrics, pages: [page], health: { true })
    }

    public var port: UInt16 { server.port }
    public func stop() { server.stop() }
}

/// Where the last word of a Job's container goes.
public enum ResultFile {
    /// Overwrites the file, as /dev/termination-log is there already. False: it couldn't be written; errno says why.
    @discardableResult
    public static func write(_ report: ProgressReport, to path: String) -> Bool {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let text = Array((report.json + "\n").utf8)
        return Glibc.write(descriptor, text, text.count) == text.count
    }
}
