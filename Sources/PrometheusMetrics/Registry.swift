import Threads

/// The metrics of one process, in Prometheus' text format. Asking twice for a name and labels gives the same metric.
public final class Registry: Sendable {
    private enum Metric: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case computed(@Sendable () -> Double)
        case histogram(Histogram)
    }
    private struct Family {
        var help: String
        var type: String
        var series: [(labels: String, metric: Metric)] = []
    }
    private let families = Locked<[String: Family]>([:])

    public init() {}

    public func counter(_ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:]) -> Counter {
        let metric = find(name, help, "counter", labels) { .counter(Counter()) }
        guard case .counter(let counter) = metric else { preconditionFailure("\(name) is not a counter") }
        return counter
    }

    public func gauge(_ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:]) -> Gauge {
        let metric = find(name, help, "gauge", labels) { .gauge(Gauge()) }
        guard case .gauge(let gauge) = metric else { preconditionFailure("\(name) is not a gauge") }
        return gauge
    }

    /// A gauge that is computed when somebody looks.
    public func computed(
        _ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:],
        _ value: @escaping @Sendable () -> Double
    ) {
        _ = find(name, help, "gauge", labels) { .computed(value) }
    }

    public func histogram(
        _ name: String, _ help: String, _ labels: KeyValuePairs<String, String> = [:],
        bounds: [Double] = Histogram.latencyBuckets
    ) -> Histogram {
        let metric = find(name, help, "histogram", labels) { .histogram(Histogram(bounds: bounds)) }
        guard case .histogram(let histogram) = metric else { preconditionFailure("\(name) is not a histogram") }
        return histogram
    }

    /// All of it, as `GET /metrics` answers.
    public func render() -> String {
        // Computed gauges may take locks of their own, so they are read outside ours.
        let families = families.withLock { $0 }
        var out = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            out += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.type)\n"
            for (labels, metric) in family.series {
                switch metric {
                case .counter(let counter): out += "\(name)\(braced(labels)) \(counter.value)\n"
                case .gauge(let gauge): out += "\(name)\(braced(labels)) \(gauge.value)\n"
                case .computed(let value): out += "\(name)\(braced(labels)) \(number(value()))\n"
                case .histogram(let histogram):
                    let cumulative = histogram.cumulative
                    let comma = labels.isEmpty ? "" : ","
                    for (bound, count) in zip(histogram.bounds.map(number) + ["+Inf"], cumulative) {
                        out += "\(name)_bucket{\(labels)\(comma)le=\"\(bound)\"} \(count)\n"
                    }
                    out += "\(name)_sum\(braced(labels)) \(histogram.sum)\n"
                    out += "\(name)_count\(braced(labels)) \(cumulative.last ?? 0)\n"
                }
            }
        }
        return out
    }

    private func find(
        _ name: String, _ help: String, _ type: String, _ labels: KeyValuePairs<String, String>, _ make: () -> Metric
    ) -> Metric {
        let labels = labels.map { "\($0.key)=\"\(escaped($0.value))\"" }.joined(separator: ",")
        return families.withLock { families in
            var family = families[name] ?? Family(help: help, type: type)
            if let found = family.series.first(where: { $0.labels == labels }) { return found.metric }
            let metric = make()
            family.series.append((labels, metric))
            families[name] = family
            return metric
        }
    }

    private func braced(_ labels: String) -> String { labels.isEmpty ? "" : "{\(labels)}" }
    private func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int(value)) : String(value)
    }
    private func escaped(_ value: String) -> String {
        var out = ""
        for character in value {
            switch character {
            case "\\": out += "\\\\"
            case "\"": out += "\\\""
            case "\n": out += "\\n"
            default: out.append(character)
            }
        }
        return out
    }
}
