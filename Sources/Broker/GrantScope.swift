import Controller
import Kubernetes

/// What a grant's keys are good for: no more than it asks for, nor than the Dataset's owner permits.
public struct GrantScope: Sendable, Equatable {
    public var store: BrokeredStore
    /// "" or with a slash at its end.
    public var prefix: String
    public var access: BrokeredStore.Access
    public var ttlSeconds: Int

    /// Another one means that keys minted before must not work any more.
    public var digest: String {
        Fingerprint.of(
            [
                store.source.endpoint ?? "", store.region, store.source.bucket, prefix, access.rawValue,
                store.roleARN ?? "", store.stsEndpoint ?? "",
            ].joined(separator: "\n"))
    }

    /// `dataset`, `namespace`: nil where there is none. Throws what a person has to change.
    public init(
        _ grant: CredentialGrant, _ dataset: Dataset?, in namespace: Namespace?
    ) throws(Refusal) {
        guard let key = grant.datasetKey else {
            throw Refusal(
                "DatasetMissing", "spec.dataset is \"\(grant.spec.dataset.prefix(100))\"; it must be namespace/name")
        }
        // A Dataset that isn't there and one that isn't for this namespace sound the same.
        guard let dataset, let namespace, dataset.allows(namespace), !dataset.metadata.isBeingDeleted else {
            throw Refusal(
                Refusal.notAllowed,
                "Dataset \(key) isn't there or isn't granted to namespace \(grant.key.namespace); its owner can grant "
                    + "it by spec.allowedNamespaces")
        }
        store = try BrokeredStore(dataset)
        if let problem = GrantKeys.problem(grant.spec.keys) { throw Refusal("Keys", "spec.\(problem)") }
        prefix = try Self.prefix(grant.spec.subPath, store)
        access = try Self.access(grant.spec.access, store)
        ttlSeconds = try Self.ttl(grant.spec.ttlSeconds, store)
    }

    private static func prefix(_ subPath: String?, _ store: BrokeredStore) throws(Refusal) -> String {
        var prefix = store.source.prefix ?? ""
        if !prefix.isEmpty && !prefix.hasSuffix("/") { prefix += "/" }
        if let subPath {
            if let problem = subPathProblem(subPath) {
                throw Refusal("SubPath", "spec.subPath is \"\(subPath.prefix(100))\": \(problem)")
            }
            prefix += subPath.hasSuffix("/") ? subPath : subPath + "/"
        }
        // In a policy these stand for more than themselves, and not every server knows a way to escape them.
        if let character = prefix.first(where: { "*?$".contains($0) }) {
            throw Refusal(
                "SubPath",
                "the prefix \(prefix.prefix(200)) contains \"\(character)\", which a policy would take for a "
                    + "pattern; use another spec.subPath or Dataset")
        }
        return prefix
    }

    private static func access(_ text: String?, _ store: BrokeredStore) throws(Refusal) -> BrokeredStore.Access {
        guard let text else { return .readOnly }
        guard let access = BrokeredStore.Access(rawValue: text) else {
            throw Refusal("Access", "spec.access is \"\(text.prefix(100))\"; it must be ReadOnly or ReadWrite")
        }
        guard access == .readOnly || store.access == .readWrite else {
            throw Refusal(
                Refusal.notAllowed,
                "spec.access is ReadWrite, and Dataset \(store.dataset) permits ReadOnly; its owner can set "
                    + "spec.broker.access")
        }
        return access
    }

    private static func ttl(_ seconds: Int?, _ store: BrokeredStore) throws(Refusal) -> Int {
        let most = store.mostTTLSeconds
        guard let seconds else { return min(BrokeredStore.defaultTTL, most) }
        guard (BrokeredStore.ttlRange.lowerBound...most).contains(seconds) else {
            throw Refusal(
                "TTL",
                "spec.ttlSeconds is \(seconds); Dataset \(store.dataset) permits from "
                    + "\(BrokeredStore.ttlRange.lowerBound) to \(most) (spec.broker.maxTTLSeconds)")
        }
        return seconds
    }
}
