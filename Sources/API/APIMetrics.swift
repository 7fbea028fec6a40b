import PrometheusMetrics

/// What PVCi told Prometheus (its service's info, requests by route and status, their time), and more.
struct APIMetrics: Sendable {
    let registry: Registry
    let objects: Counter
    let bytes: Counter
    let made: Counter
    let failed: Counter

    init(_ registry: Registry, settings: APISettings) {
        self.registry = registry
        registry.gauge(
            "millrace_service_info", "Always 1; its labels say which program this is.",
            ["service": "millrace", "version": settings.version, "mode": settings.mode]
        ).set(1)
        objects = registry.counter("millrace_api_counted_objects_total", "Objects that sizes were asked of.")
        bytes = registry.counter("millrace_api_counted_bytes_total", "Bytes of those objects.")
        made = registry.counter("millrace_api_claims_created_total", "Claims made through the API.")
        failed = registry.counter(
            "millrace_api_claims_failed_total", "Creations of claims that failed and were undone.")
    }

    func answered(_ endpoint: Endpoint, status: Int, seconds: Double) {
        registry.counter(
            "millrace_api_requests_total", "Requests by route, method and status.",
            ["code": String(status), "method": endpoint.method.rawValue, "route": endpoint.path]
        ).add()
        registry.histogram(
            "millrace_api_request_seconds", "Time from a request's head to its answer.", ["route": endpoint.path]
        ).observe(seconds)
    }
}
