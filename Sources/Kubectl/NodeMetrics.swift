import Kubernetes

/// Metrics of one node's plugin, read through the API server.
struct NodeMetrics: Sendable, Equatable {
    struct Sample: Sendable, Equatable {
        var name: String
        var labels: [String: String]
        var value: Double
    }

    var node: String
    var samples: [Sample]

    init(node: String, samples: [Sample]) {
        self.node = node
        self.samples = samples
    }

    /// Of Prometheus' text format what the plugin writes: `name{label="value"} number`. Other lines are passed over.
    init(node: String, text: String) {
        self.node = node
        samples = text.split(separator: "\n").compactMap { line in
            guard !line.hasPrefix("#"), let space = line.lastIndex(of: " "),
                let value = Double(line[line.index(after: space)...])
            else { return nil }
            let head = line[..<space]
            guard let brace = head.firstIndex(of: "{"), head.hasSuffix("}") else {
                return Sample(name: String(head), labels: [:], value: value)
            }
            return Sample(
                name: String(head[..<brace]), labels: Self.labels(head[head.index(after: brace)...].dropLast()),
                value: value)
        }
    }

    private static func labels(_ text: Substring) -> [String: String] {
        var labels: [String: String] = [:]
        var rest = text
        while let equals = rest.firstIndex(of: "="), rest[rest.index(after: equals)...].first == "\"" {
            let name = String(rest[..<equals])
            var value = ""
            var i = rest.index(equals, offsetBy: 2)
            while i < rest.endIndex, rest[i] != "\"" {
                if rest[i] == "\\" {
                    i = rest.index(after: i)
                    if i == rest.endIndex { break }
                }
                value.append(rest[i])
                i = rest.index(after: i)
            }
            labels[name] = value
            guard i < rest.endIndex else { break }
            rest = rest[rest.index(after: i)...]
            if rest.first == "," { rest = rest.dropFirst() }
        }
        return labels
    }

    func sum(_ name: String) -> Double { samples.filter { $0.name == name }.reduce(0) { $0 + $1.value } }

    /// What makes reads slow, as far as counters tell.
    var findings: [Finding] {
        let about = "node \(node)"
        var findings: [Finding] = []
        let hits = sum("millrace_cache_hit_bytes_total")
        let misses = sum("millrace_cache_miss_bytes_total")
        findings.append(
            .fine(
                about,
                "\(Text.percent(hits, of: hits + misses)) of \(Text.bytes(Int(hits + misses))) read came from memory"))
        if sum("millrace_cache_queued_reads_total") > 0 {
            findings.append(
                .problem(about, "reads had to wait for memory: give the node's cache more (chart value node.memory)"))
        }
        let evicted = sum("millrace_readahead_wasted_bytes_total")
        if evicted > 0.2 * (hits + misses), evicted > 64 * 1024 * 1024 {
            findings.append(
                .problem(
                    about,
                    "\(Text.bytes(Int(evicted))) read ahead were dropped unread: the cache is too small for its readers "
                        + "(chart value node.memory)"))
        }
        let errors = sum("millrace_operation_errors_total")
        if errors > 0 { findings.append(.problem(about, "\(Int(errors)) calls of pods failed; see the plugin's log")) }
        return findings
    }

    // MARK: Reading

    /// Of the nodes where the plugin runs, or of one.
    static func read(_ client: Client, on node: String? = nil) async throws(APIError) -> [NodeMetrics] {
        let pods: [PodView]
        do throws(APIError) {
            pods = try await client.list(
                PodView.self,
                labelSelector: "app.kubernetes.io/name=millrace,app.kubernetes.io/component=node"
            ).items
        } catch {
            guard error.isForbidden else { throw error }
            return []
        }
        var metrics: [NodeMetrics] = []
        for pod in pods.sorted(by: { ($0.spec?.nodeName ?? "") < ($1.spec?.nodeName ?? "") }) where !pod.isOver {
            guard let name = pod.spec?.nodeName, node == nil || node == name else { continue }
            let path = Pod.resource.path(
                namespace: pod.key.namespace, name: "\(pod.key.name):\(port(pod))", subresource: "proxy/metrics")
            let answer = try await client.transport.send(APIRequest(method: "GET", target: path, timeoutMs: 10_000))
            // One node that doesn't answer hides none of the others.
            guard answer.status == 200 else { continue }
            metrics.append(NodeMetrics(node: name, text: String(decoding: answer.body, as: UTF8.self)))
        }
        return metrics
    }

    /// As the pod says for Prometheus, or the chart's default.
    private static func port(_ pod: PodView) -> String { pod.metadata.annotations?["prometheus.io/port"] ?? "9809" }
}
