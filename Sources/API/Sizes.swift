import Controller
import Kubernetes
import S3
import Threads

/// A place in an object store, and the keys to it, out of a request.
struct Place: Sendable {
    var source: Dataset.S3Source
    var keys: SourceCredentials?

    /// What keys begin with; unlike a directory, `testset` is also the beginning of `testset2/x`.
    var prefix: String { source.prefix ?? "" }

    /// `https://host/bucket/prefix`, for people.
    var origin: String { "\(source.endpoint ?? "https://s3.amazonaws.com")/\(source.bucket)/\(prefix)" }
}

/// Counts what is below a prefix.
final class Sizes: Sendable {
    struct Size: Sendable, Equatable {
        var objects: Int
        var bytes: Int
    }

    private let probe: S3Probe
    private let settings: APISettings
    private let metrics: APIMetrics
    private let running = Locked(0)

    init(probe: S3Probe, settings: APISettings, metrics: APIMetrics) {
        self.probe = probe
        self.settings = settings
        self.metrics = metrics
    }

    /// - Parameters:
    ///   - isDirectory: only what is in the directory of that name, not all keys that begin so.
    ///   - seconds: nil where the settings say it.
    func count(_ place: Place, isDirectory: Bool, seconds: Int? = nil) async throws(Problem) -> Size {
        try await check(place)
        let hasRoom = running.withLock { running in
            guard running < settings.mostCounts else { return false }
            running += 1
            return true
        }
        guard hasRoom else {
            throw Problem(503, "Busy", "too many buckets are being listed; come again", retryAfterSeconds: 5)
        }
        defer { running.withLock { $0 -= 1 } }
        var prefix = place.prefix
        if isDirectory, !prefix.isEmpty, !prefix.hasSuffix("/") { prefix += "/" }
        let view = DatasetView(source: place.source)
        // What is wrong is known sooner by one small listing.
        switch await probe.failure(view, credentials: place.keys) {
        case nil: break
        case .timedOut: throw Self.problem(.network("no answer in time"), place, 5)
        case let error?: throw Self.problem(error, place, 5)
        }
        let seconds = seconds ?? settings.countSeconds
        switch await probe.measure(view, credentials: place.keys, prefix: prefix, seconds: seconds)
        {
        case .success(let total):
            metrics.objects.add(total.objects)
            metrics.bytes.add(total.bytes)
            return Size(objects: total.objects, bytes: total.bytes)
        case .failure(let error): throw Self.problem(error, place, seconds)
        }
    }

    /// Refuses places that nobody may be sent to.
    func check(_ place: Place) async throws(Problem) {
        if let problem = place.source.problem { throw .badField(problem) }
        guard let endpoint = place.source.endpoint else { return }
        do throws(Refusal) { try await settings.addresses.check(url: endpoint, field: "endpoint") } catch {
            throw .refused(error)
        }
    }

    /// What a copy's claim must ask for: MB taken for MiB, and a part on top.
    static func claimBytes(_ bytes: Int, overagePercent: Int) -> Int {
        let exact = Double(bytes) * 1.048576 * (1 + Double(overagePercent) / 100)
        return max(1, Int(exact.rounded(.up)))
    }

    static func problem(_ error: S3Error, _ place: Place, _ seconds: Int) -> Problem {
        let bucket = "bucket \(place.source.bucket) at \(place.source.endpoint ?? "AWS")"
        switch error {
        case .noSuchBucket, .noSuchKey: return Problem(404, "NoSuchBucket", "there is no \(bucket)")
        case .denied(let code, _): return Problem(422, "SourceDenied", "\(bucket) refuses these keys (\(code))")
        case .credentials(let why): return Problem(422, "SourceDenied", "\(bucket): \(why)")
        case .timedOut, .cancelled:
            return Problem(
                504, "SourceSlow", "\(bucket) wasn't counted within \(seconds) s; it is too large or too slow")
        case .network(let why): return Problem(502, "SourceUnreachable", "\(bucket) can't be reached: \(why)")
        default: return Problem(502, "SourceUnreachable", "\(bucket): \(error)")
        }
    }
}
