import Kubernetes

/// What was found out about a Dataset's source.
public struct Observation: Sendable, Equatable {
    public var finding: Finding
    public var objects: Int?
    public var bytes: Int?
    public var countedAt: String?
    /// Of which spec.
    public var generation: Int?

    public init(_ finding: Finding, generation: Int?) {
        self.finding = finding
        self.generation = generation
    }

    public enum Finding: Sendable, Equatable {
        case reachable
        /// The Secret isn't there or has no credentials in it; says which and what to do.
        case secretUnusable(reason: String, String)
        /// The controller may not read the Secret, so it can't try. The kubelet can all the same.
        case secretNotReadable(String)
        /// The store answers, and refuses these credentials.
        case denied(String)
        case noBucket(String)
        case noPath(String)
        case unreachable(String)
        case notChecked(String)
    }
}

/// Makes a Dataset's status out of what is known.
public enum DatasetStatus {
    private static let ownTypes: Set<String> = ["SourceReachable", "CredentialsValid", "Ready", "Published"]

    public static func make(
        for dataset: Dataset, observation: Observation?, consumers: Dataset.Consumers, publishing: Refusal?,
        now: String
    ) -> Dataset.Status {
        var status = Dataset.Status()
        status.observedGeneration = dataset.metadata.generation
        let (credentials, source) = conditions(observation)
        var conditions = [source, credentials, ready(dataset, source, credentials)]
        if dataset.spec.publish != nil { conditions.append(published(publishing)) }
        // Other controllers have conditions of their own.
        let others = (dataset.status?.conditions ?? []).filter { !ownTypes.contains($0.type) }
        status.conditions = conditions.map { stamped($0, dataset, now) } + others
        status.warm = dataset.status?.warm
        status.objects = observation?.objects ?? dataset.status?.objects
        status.bytes = observation?.bytes ?? dataset.status?.bytes
        status.countedAt = observation?.countedAt ?? dataset.status?.countedAt
        status.consumers = consumers
        status.revision = dataset.status?.revision
        status.revisions = dataset.status?.revisions
        return status
    }

    private static func conditions(_ observation: Observation?) -> (credentials: Condition, source: Condition) {
        func credentials(_ status: String, _ reason: String, _ message: String) -> Condition {
            Condition(type: "CredentialsValid", status: status, reason: reason, message: message)
        }
        func source(_ status: String, _ reason: String, _ message: String) -> Condition {
            Condition(type: "SourceReachable", status: status, reason: reason, message: message)
        }
        let unknown = ("Unknown", "NotChecked")
        switch observation?.finding {
        case nil:
            return (
                credentials(unknown.0, unknown.1, "The source wasn't asked yet."),
                source(unknown.0, unknown.1, "The source wasn't asked yet.")
            )
        case .reachable?:
            return (
                credentials("True", "Accepted", "The source takes the credentials."),
                source("True", "Answered", "The source answers.")
            )
        case .secretUnusable(let reason, let text)?:
            return (
                credentials("False", reason, text), source(unknown.0, unknown.1, "It needs credentials to be asked.")
            )
        case .secretNotReadable(let text)?:
            return (credentials("Unknown", "NotReadable", text), source(unknown.0, unknown.1, text))
        case .denied(let text)?:
            return (credentials("False", "Denied", text), source("True", "Answered", "The source answers."))
        case .noBucket(let text)?:
            return (
                credentials(unknown.0, unknown.1, "There is no bucket to try them on."),
                source("False", "NoBucket", text)
            )
        case .noPath(let text)?:
            return (
                credentials(unknown.0, unknown.1, "There is no directory to try them on."),
                source("False", "NoPath", text)
            )
        case .unreachable(let text)?:
            return (
                credentials(unknown.0, unknown.1, "The source can't be reached."), source("False", "Unreachable", text)
            )
        case .notChecked(let text)?:
            return (credentials(unknown.0, unknown.1, text), source(unknown.0, unknown.1, text))
        }
    }

    /// Ready unless something is known to be wrong; counting objects has no say in it.
    private static func ready(_ dataset: Dataset, _ source: Condition, _ credentials: Condition) -> Condition {
        func not(_ reason: String, _ message: String) -> Condition {
            Condition(type: "Ready", status: "False", reason: reason, message: message)
        }
        if let problem = dataset.spec.source.problem { return not("SourceInvalid", problem) }
        if credentials.status == "False" { return not(credentials.reason, credentials.message) }
        if source.status == "False" { return not(source.reason, source.message) }
        if dataset.isPinned, dataset.mountableRevision == nil {
            let message = dataset.status?.revision.map { "\($0.phase): \($0.message)" } ?? "It is made soon."
            return not("RevisionPending", "There is no revision of this source yet. \(message)")
        }
        return Condition(type: "Ready", status: "True", reason: "Ready", message: "Pods can mount it.")
    }

    private static func published(_ problem: Refusal?) -> Condition {
        problem.map { Condition(type: "Published", status: "False", reason: $0.reason, message: $0.message) }
            ?? Condition(
                type: "Published", status: "True", reason: "Published",
                message: "Every namespace that matches has its claim.")
    }

    /// With the time of its last change and the spec that it is about.
    public static func stamped(_ condition: Condition, _ dataset: Dataset, _ now: String) -> Condition {
        var condition = condition
        let old = dataset.status?.conditions?.first { $0.type == condition.type }
        condition.lastTransitionTime = old?.status == condition.status ? old?.lastTransitionTime ?? now : now
        condition.observedGeneration = dataset.metadata.generation
        return condition
    }
}
