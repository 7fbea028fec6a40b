import Threads

/// A bucket of tokens for each caller: full at first, one is taken for each request, and so many come back each second.
/// A value without a clock.
struct RateLimits {
    private struct Bucket {
        var tokens: Double
        var at: Instant
    }

    let perSecond: Double
    let burst: Double
    /// Callers that are remembered; of more, those whose bucket is full are forgotten.
    let most: Int
    private var buckets: [String: Bucket] = [:]

    init(perSecond: Double, burst: Double, most: Int = 4096) {
        self.perSecond = perSecond
        self.burst = burst
        self.most = most
    }

    /// Nil: go ahead; else after how many milliseconds there will be a token.
    mutating func take(_ key: String, now: Instant) -> Int? {
        var bucket = buckets[key] ?? Bucket(tokens: burst, at: now)
        bucket.tokens = filled(bucket, now)
        bucket.at = now
        defer { buckets[key] = bucket }
        guard bucket.tokens >= 1 else { return Int(((1 - bucket.tokens) / perSecond * 1000).rounded(.up)) }
        bucket.tokens -= 1
        if buckets[key] == nil, buckets.count >= most {
            buckets = buckets.filter { filled($0.value, now) < burst }
            // All of them busy: the one that waits least is forgotten, which costs nothing but a burst.
            if buckets.count >= most, let fullest = buckets.max(by: { filled($0.value, now) < filled($1.value, now) }) {
                buckets[fullest.key] = nil
            }
        }
        return nil
    }

    private func filled(_ bucket: Bucket, _ now: Instant) -> Double {
        min(burst, bucket.tokens + now.ms(since: bucket.at) / 1000 * perSecond)
    }

    var count: Int { buckets.count }
}
