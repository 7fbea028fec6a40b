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
    private let idle: IdleWatch
    private let logger: Logger

    /// Every READ touches `idle`.
    init(_ registry: Registry, slowMs: Int, idle: IdleWatch, logger: Logger) {
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
        self.idle = idle
        self.logger = logger
    }

    /// `session`: what is mounted; `key`: of the file or directory that was asked about. Evaluated only for slow ones.
    func answered(_ answer: Answer, session: @autoclosure () -> String, key: @autoclosure () -> String) {
        let ms = Instant.now.ms(since: answer.started)
        let series = series[Int(answer.operation.rawValue)]
        series.latency.observe(ms / 1000)
        // A name that isn't there is an answer, not a failure; nor is it one that nobody waits any more.
        if let errno = answer.errno, errno != .noSuchFileOrDirectory, errno != .interrupted { series.errors.add() }
        if answer.operation == .read {
            bytes.add(answer.bytes)
            idle.touch()
        }
        guard ms >= slowMs else { return }
        slow.add()
        var fields: Logger.Metadata = [
            "operation": "\(answer.operation)", "ms": "\(Int(ms))", "mount": "\(session())", "inode": "\(answer.inode)",
            "key": "\(key())",
        ]
        if let errno = answer.errno { fields["error"] = "\(errno)" }
        logger.warning("A request was slow.", metadata: fields)
    }
}
