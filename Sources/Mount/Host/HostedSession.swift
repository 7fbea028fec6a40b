import BlockCache
import NodeProtocol
import S3

/// A session that the host serves, or did until its connection ended.
struct HostedSession: Sendable {
    var record: SessionRecord
    let mounted: MountedSession
    let source: OpenSource

    /// Nil while it is served.
    var failure: String? {
        mounted.ended.wait(until: .now).map { "its connection to the kernel ended: \($0)" }
    }
}

extension CachePolicy {
    init(_ spec: SessionSpec) {
        self.init(
            dataset: spec.dataset ?? "s3://\(spec.bucket)/\(spec.prefix)",
            priority: spec.cachePriority ?? CachePolicy.defaultPriority, isPinned: spec.isCachePinned,
            quotaBytes: spec.cacheQuotaBytes.map { UInt64($0) })
    }
}

extension SessionDescription {
    init(_ spec: SessionSpec) {
        self.init(
            bucket: spec.bucket, prefix: ObjectKey(spec.prefix),
            policy: spec.metadataTTLMs == .max
                ? .immutable : .init(ttlMs: spec.metadataTTLMs, negativeTTLMs: spec.metadataTTLMs),
            revision: spec.revision?.id, uid: spec.uid, gid: spec.gid, fileMode: spec.fileMode,
            directoryMode: spec.directoryMode, scope: spec.scope, cache: CachePolicy(spec))
    }
}
