import PrometheusMetrics

struct DiskMetrics: Sendable {
    let readBytes: Counter
    let writtenBytes: Counter
    let droppedBlocks: Counter
    let corruptBlocks: Counter
    let evictedBytes: Counter
    let writeErrors: Counter
    let warmedBytes: Counter

    init(_ registry: Registry) {
        func counter(_ name: String, _ help: String) -> Counter {
            registry.counter("millrace_disk_cache_" + name, help)
        }
        readBytes = counter("read_bytes_total", "Bytes read from the disk cache and found right")
        writtenBytes = counter("written_bytes_total", "Bytes of objects written to the disk cache")
        droppedBlocks = counter("dropped_blocks_total", "Blocks not cached: queue full, no room, or write error")
        corruptBlocks = counter("corrupt_blocks_total", "Blocks whose bytes were not those that were written")
        evictedBytes = counter("evicted_bytes_total", "Bytes on disk given back by eviction")
        warmedBytes = counter("warmed_bytes_total", "Bytes that warm-ups asked of S3 for the disk cache")
        writeErrors = counter("write_errors_total", "Writes to the disk cache that failed")
    }
}
