import PrometheusMetrics
import Threads

/// What a request asks of S3.
enum OperationName: String, CaseIterable {
    case get, head, list, put, upload, delete
    case headBucket = "head_bucket"
}

/// The client's metrics; those of all clients of a process add up.
final class S3Metrics: Sendable {
    private let registry: Registry
    private let firstBytes: [Histogram]
    private let statuses: [[Counter]]
    let received: Counter
    let active: Gauge
    let queued: Gauge
    let hedges: Counter
    let hedgesWon: Counter
    let resumed: Counter
    private let retries: [Counter]
    private let codes = Locked<Set<String>>([])
    /// A server can't make metrics grow without end by making up codes.
    private static let maxCodes = 64

    init(_ registry: Registry) {
        self.registry = registry
        firstBytes = OperationName.allCases.map {
            registry.histogram(
                "millrace_s3_first_byte_seconds", "Time from sending a request to the head of its answer.",
                ["operation": $0.rawValue])
        }
        statuses = OperationName.allCases.map { operation in
            ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map {
                registry.counter(
                    "millrace_s3_requests_total", "Requests to S3, each attempt counted, by the class of their status.",
                    ["operation": operation.rawValue, "status": $0])
            }
        }
        retries = OperationName.allCases.map {
            registry.counter(
                "millrace_s3_retries_total", "Attempts after the first.", ["operation": $0.rawValue])
        }
        received = registry.counter("millrace_s3_received_bytes_total", "Bytes of objects received from S3.")
        active = registry.gauge("millrace_s3_connections_active", "Connections with a request under way.")
        queued = registry.gauge("millrace_s3_requests_queued", "Requests that wait for a connection.")
        hedges = registry.counter("millrace_s3_hedges_total", "GETs sent a second time as their first byte was late.")
        hedgesWon = registry.counter("millrace_s3_hedges_won_total", "Hedges that answered first.")
        resumed = registry.counter("millrace_s3_resumed_total", "GETs that went on from where an attempt had stopped.")
    }

    func firstByte(_ operation: OperationName) -> Histogram { firstBytes[Self.index(operation)] }

    /// `status` 0: there was no answer.
    func answered(_ operation: OperationName, status: Int) {
        statuses[Self.index(operation)][(0..<6).contains(status / 100) ? status / 100 : 0].add()
    }

    func retried(_ operation: OperationName) { retries[Self.index(operation)].add() }

    /// Rare, so the counter is looked up.
    func failed(_ operation: OperationName, code: String) {
        let isKnown = codes.withLock { codes in
            if codes.contains(code) { return true }
            guard codes.count < Self.maxCodes, code.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return false }
            codes.insert(code)
            return true
        }
        registry.counter(
            "millrace_s3_errors_total", "Attempts that failed, by S3's code or the kind of failure.",
            ["operation": operation.rawValue, "code": isKnown ? code : "other"]
        ).add()
    }

    private static func index(_ operation: OperationName) -> Int {
        switch operation {
        case .get: 0
        case .head: 1
        case .list: 2
        case .put: 3
        case .upload: 4
        case .delete: 5
        case .headBucket: 6
        }
    }
}
