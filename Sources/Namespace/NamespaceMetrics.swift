import PrometheusMetrics

/// What a namespace counts.
struct NamespaceMetrics: Sendable {
    let listsForLookup: Counter
    let listsForRenewal: Counter
    let listsForDirectory: Counter
    let listsForCrawl: Counter
    let headsForLookup: Counter
    let headsForOpen: Counter
    let headsForAttributes: Counter
    let hits: Counter
    let negativeHits: Counter
    let misses: Counter
    let entries: Counter
    let hidden: Counter
    let failures: Counter

    init(_ registry: Registry) {
        let lists = "millrace_namespace_lists_total"
        let listsHelp = "LIST requests, by what they were for."
        listsForLookup = registry.counter(lists, listsHelp, ["reason": "lookup"])
        listsForRenewal = registry.counter(lists, listsHelp, ["reason": "renewal"])
        listsForDirectory = registry.counter(lists, listsHelp, ["reason": "directory"])
        listsForCrawl = registry.counter(lists, listsHelp, ["reason": "crawl"])
        let heads = "millrace_namespace_heads_total"
        let headsHelp = "HEAD requests, by what they were for."
        headsForLookup = registry.counter(heads, headsHelp, ["reason": "lookup"])
        headsForOpen = registry.counter(heads, headsHelp, ["reason": "open"])
        headsForAttributes = registry.counter(heads, headsHelp, ["reason": "attributes"])
        let lookups = "millrace_namespace_lookups_total"
        let lookupsHelp = "Lookups, by whether the answer was known."
        hits = registry.counter(lookups, lookupsHelp, ["result": "hit"])
        negativeHits = registry.counter(lookups, lookupsHelp, ["result": "negative_hit"])
        misses = registry.counter(lookups, lookupsHelp, ["result": "miss"])
        entries = registry.counter("millrace_namespace_entries_listed_total", "Entries that listings told of.")
        hidden = registry.counter("millrace_namespace_hidden_total", "Listed names that no file system can show.")
        failures = registry.counter(
            "millrace_namespace_request_failures_total", "Requests that failed or made no sense.")
    }
}
