import Kubernetes

/// One kind of source that a Dataset may have: a member of `spec.source`. A new kind is a type in a file of its own and a
/// line in `Dataset.Source.all`; docs/adding-a-source.md goes through it.
public protocol DatasetSource: Codable, Sendable, Equatable {
    /// The member's name.
    static var name: String { get }

    /// What is wrong with it, as "field …"; nil: nothing. The CRD's schema says the same; this is for API servers that
    /// have an older one.
    var problem: String? { get }

    /// The URLs in it, by field: where they lead is checked against the administrator's policy.
    var addresses: [(field: String, url: String)] { get }

    /// What the node's volume attributes are, for what lies below a directory. Each one must be known to
    /// `CSI.VolumeAttributes`.
    func attributes(subPath: String?) -> [String: String]

    /// The same in S3's terms, so that it can be asked, counted and kept in revisions; nil: it speaks no S3.
    var asS3: Dataset.S3Source? { get }
}

extension DatasetSource {
    /// Below its own prefix: "" or ends in a slash.
    public static func directory(_ base: String?, _ subPath: String?) -> String {
        var path = base ?? ""
        if !path.isEmpty, !path.hasSuffix("/") { path += "/" }
        guard var sub = subPath, !sub.isEmpty else { return path }
        if !sub.hasSuffix("/") { sub += "/" }
        return path + sub
    }
}

extension Dataset.Source {
    /// Those that are set: exactly one, unless the API server has another schema.
    private var all: [any DatasetSource] {
        let members: [(any DatasetSource)?] = [s3, http, nfs, pachyderm]
        return members.compactMap { $0 }
    }

    /// The source; nil: none of those that are known here.
    public var kind: (any DatasetSource)? { all.count == 1 ? all[0] : nil }

    /// What is wrong, as "spec.source…"; nil: nothing.
    public var problem: String? {
        guard let kind else {
            return all.isEmpty
                ? "spec.source has none of s3, http, nfs and pachyderm"
                : "spec.source has more than one member; remove all but one"
        }
        return kind.problem.map { "spec.source.\(type(of: kind).name).\($0)" }
    }
}

/// Whether a text is a URL that a source may have.
func urlProblem(_ url: String) -> String? {
    let isURL = ["https://", "http://"].contains { url.hasPrefix($0) && url.count > $0.count }
    guard isURL, !url.contains("@"), !url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7f }) else {
        return "must be a URL that begins with https:// or http://, without a user in it"
    }
    return nil
}
