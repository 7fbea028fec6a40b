/// Asks each kind of source in its own way.
public struct SourceProbes: SourceProbe {
    private let s3: any SourceProbe
    private let policy: AddressPolicy?

    /// - Parameter policy: where web servers' URLs may lead; nil: anywhere.
    public init(s3: any SourceProbe, policy: AddressPolicy?) {
        self.s3 = s3
        self.policy = policy
    }

    public func check(_ view: DatasetView, credentials: SourceCredentials?) async -> Observation.Finding {
        guard let kind = view.origin.kind else { return .notChecked("The source isn't known.") }
        let name = type(of: kind).name
        // A bucket's endpoint is what the cluster's S3 is; what else people write may lead anywhere.
        if name != Dataset.S3Source.name, let policy {
            for (field, url) in kind.addresses {
                do throws(Refusal) { try await policy.check(url: url, field: "spec.source.\(name).\(field)") } catch {
                    return .unreachable(error.message)
                }
            }
        }
        if let nfs = view.origin.nfs { return Self.finding(await nfs.look(subPath: view.subPath), nfs.server) }
        guard kind.asS3 != nil else { return .notChecked("Sources of the kind \(name) are asked by the nodes alone.") }
        return await s3.check(view, credentials: credentials)
    }

    public func exists(_ view: DatasetView, credentials: SourceCredentials?) async -> Bool? {
        if let nfs = view.origin.nfs {
            switch await nfs.look(subPath: view.subPath) {
            case .reachable: return true
            case .missing: return false
            case .pathNotChecked, .denied, .unreachable: return nil
            }
        }
        return view.origin.kind?.asS3 == nil ? nil : await s3.exists(view, credentials: credentials)
    }

    private static func finding(_ outcome: NFSProbe.Outcome, _ server: String) -> Observation.Finding {
        switch outcome {
        // What the controller may not see, pods of the right user may.
        case .reachable, .pathNotChecked, .denied: .reachable
        case .missing(let why): .noPath("NFS server \(server): \(why); check spec.source.nfs.path.")
        case .unreachable(let why): .unreachable("NFS server \(server): \(why); check spec.source.nfs.server.")
        }
    }

    public func count(_ view: DatasetView, credentials: SourceCredentials?) async -> (objects: Int, bytes: Int)? {
        view.origin.kind?.asS3 == nil ? nil : await s3.count(view, credentials: credentials)
    }
}
