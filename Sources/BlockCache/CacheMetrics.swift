import PrometheusMetrics

/// What the cache counts.
struct CacheMetrics: Sendable {
    let hits: Counter
    let misses: Counter
    let hitBytes: Counter
    let missBytes: Counter
    let fetchedBytes: Counter
    let diskBytes: Counter
    let failedReads: Counter
    let evictedBlocks: Counter
    let aheadUsedBytes: Counter
    let aheadWastedBytes: Counter
    let aheadDenied: Counter
    let queuedReads: Counter

    init(_ registry: Registry) {
        hits = registry.counter("millrace_cache_hits_total", "Reads answered from memory at once.")
        misses = registry.counter("millrace_cache_misses_total", "Reads that waited for S3 or the disk.")
        hitBytes = registry.counter("millrace_cache_hit_bytes_total", "Bytes of reads answered from memory at once.")
        missBytes = registry.counter("millrace_cache_miss_bytes_total", "Bytes of reads that waited.")
        fetchedBytes = registry.counter("millrace_cache_fetched_bytes_total", "Bytes asked of S3.")
        diskBytes = registry.counter("millrace_cache_disk_bytes_total", "Bytes read from the disk cache.")
        failedReads = registry.counter("millrace_cache_failed_reads_total", "Reads answered with an error.")
        evictedBlocks = registry.counter("millrace_cache_evictions_total", "Blocks that gave way to others.")
        aheadUsedBytes = registry.counter("millrace_readahead_used_bytes_total", "Bytes read ahead and then read.")
        aheadWastedBytes = registry.counter(
            "millrace_readahead_wasted_bytes_total", "Bytes read ahead and evicted unread.")
        aheadDenied = registry.counter("millrace_readahead_denied_total", "Read-ahead that got no memory.")
        queuedReads = registry.counter("millrace_cache_queued_reads_total", "Reads that had to wait for memory.")
    }

    /// Levels, computed when somebody looks.
    func observe(_ cache: BlockCache, _ registry: Registry) {
        func level(_ name: String, _ help: String, _ value: @escaping @Sendable (BlockCache.Usage) -> Int) {
            registry.computed(name, help) { [weak cache] in cache.map { Double(value($0.usage)) } ?? 0 }
        }
        level("millrace_cache_memory_bytes", "Object bytes held in memory.") { $0.heldBytes }
        level("millrace_cache_memory_limit_bytes", "The memory budget.") { $0.capacityBytes }
        level("millrace_readahead_held_bytes", "Bytes read ahead and not read yet.") { $0.aheadBytes }
        level("millrace_cache_fetching_blocks", "Blocks on their way.") { $0.fetchingCount }
        level("millrace_cache_pins", "Pins of blocks by replies and waiting reads.") { $0.pinCount }
        level("millrace_cache_queued_reads", "Reads that wait for memory now.") { $0.queuedReadCount }
        level("millrace_cache_open_objects", "Opens of objects.") { $0.openCount }
    }
}
