import Namespace
import S3

/// Makes a manifest of what is below a prefix now.
public final class Snapshot: Sendable {
    private let listing: FlatListing
    private let info: ManifestInfo

    /// - Parameters:
    ///   - prefix: "" or ends in a slash.
    ///   - source: `S3Client.listVersions` where the bucket keeps versions, else `ObjectStore.list`.
    public init(
        bucket: String, prefix: ObjectKey, created: Int64, lanes: Int = 16, source: @escaping FlatListing.PageSource
    ) {
        info = ManifestInfo(bucket: bucket, prefix: prefix.description, created: created)
        listing = FlatListing(prefix: prefix, lanes: lanes, source: source)
    }

    /// Ends `write` early; from any thread.
    public func stop() { listing.stop() }

    /// Lists and writes. Blocks; not on a transfer thread. Throws `S3Error` of the listing, or what `output` throws.
    ///
    /// - Parameter progress: objects so far.
    public func write(
        to output: @escaping ManifestWriter.Output, progress: (UInt64) -> Void = { _ in }
    ) throws -> ManifestInfo {
        var writer = try ManifestWriter(info, output: output)
        // Revisions are kept in the bucket itself, and are no part of what it holds.
        let own = Array(RevisionKey.directory.utf8)
        do throws(ListingFailure<any Error>) {
            try listing.forEachPage { page in
                var page = page
                page.objects.removeAll { page.bytes[$0.key].starts(with: own) }
                try writer.add(page)
                progress(writer.info.objects)
            }
        } catch {
            switch error {
            case .listing(let error): throw error
            case .body(let error): throw error
            }
        }
        return try writer.finish()
    }

    /// How to list so that version IDs are in the manifest wherever the bucket has them.
    public static func pages(_ client: S3Client, prefix: ObjectKey) -> FlatListing.PageSource {
        let knowsVersions = VersionSupport(client, prefix)
        return { request, completion in
            knowsVersions.check { isKnown in
                if isKnown { client.listVersions(request, completion) } else { client.list(request, completion) }
            }
        }
    }
}
