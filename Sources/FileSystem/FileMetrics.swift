import PrometheusMetrics

/// What the file system counts.
struct FileMetrics: Sendable {
    let opens: Counter
    let openHandles: Gauge
    let staleHandles: Counter
    let nextFiles: Counter
    let readBytes: Counter
    let droppedBytes: Counter

    init(_ registry: Registry) {
        opens = registry.counter("millrace_opens_total", "Files opened.")
        openHandles = registry.gauge("millrace_open_handles", "Files that are open.")
        staleHandles = registry.counter("millrace_stale_handles_total", "Handles whose version was replaced.")
        nextFiles = registry.counter("millrace_next_files_total", "Files fetched because their neighbours were opened.")
        readBytes = registry.counter("millrace_read_bytes_total", "Bytes asked for by reads.")
        droppedBytes = registry.counter(
            "millrace_dropped_bytes_total", "Bytes whose pages the kernel was told to give up behind a reader.")
    }
}
