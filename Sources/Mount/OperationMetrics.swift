import Fuse
import Logging
import PrometheusMetrics
import SystemPackage
import Threads

/// Figures of every operation, and a line in the log for each that took too long.
final class OperationMetrics: Sendable {
    private struct Series: Sendable {
        let latency: Histogram
        let errors: Counter
    }
    private let series: [Series]
    private let bytes: Counter
    private let slow: Counter
    private let slowMs: Double
    private let logger: Logger

    init(_ registry: Registry, slowMs: Int, logger: Logger) {
        series = Operation.allCases.map { operation in
            Series(
                latency: registry.histogram(
                    "millrace_operation_seconds", "Time from a request of the kernel to its answer.",
                    ["operation": "\(operation)"]),
                errors: registry.counter(
                    "millrace_operation_errors_total", "Requests of the kernel that failed.",
                    ["operation": "\(operation)"]))
        }
        bytes = registry.counter("millrace_answered_bytes_total", "Bytes of files given to the kernel.")
        slow = registry.counter("millrace_slow_operations_total", "Requests that took longer than the log's threshold.")
        self.slowMs = Double(slowMs)
        self.logger = logger
    }

    /// `key`: of the file or directory that was asked about, where it is known; called only for slow ones.
    func answered(_ answer: Answer, session: String, key: () -> String?) {
        let ms = Instant.now.ms(since: answer.started)
        let series = series[Int(answer.operation.rawValue)]
        series.latency.observe(ms / 1000)
        // A name that isn't there is an answer, not a failure.
        if let errno = answer.errno, errno != .noSuchFileOrDirectory { series.errors.add() }
        if answer.operation == .read { bytes.add(answer.bytes) }
        guard ms >= slowMs else { return }
        slow.add()
        var fields: Logger.Metadata = [
            "operation": "\(answer.operation)", "ms": "\(Int(ms))", "mount": "\(session)", "inode": "\(answer.inode)",
        ]
        if let key = key() { fields["key"] = "\(key)" }
        if let errno = answer.errno { fields["error"] = "\(errno)" }
        logger.warning("A request was slow.", metadata: fields)
    }
}
