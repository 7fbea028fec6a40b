import FoundationEssentials
import Kubernetes

/// Makes an import's status out of what happened.
enum ImportStatus {
    /// The status with another phase, its conditions and the times of their changes.
    static func moved(
        _ item: DatasetImport, to phase: DatasetImport.Phase, reason: String, message: String, now: String
    ) -> DatasetImport.Status {
        var status = item.status ?? DatasetImport.Status()
        if status.phase != phase { status.lastTransition = now }
        if phase == .running, status.startTime == nil { status.startTime = now }
        if phase == .succeeded || phase == .failed, status.completionTime == nil { status.completionTime = now }
        status.phase = phase
        status.message = message
        status.observedGeneration = item.metadata.generation
        let isRefused = [
            "SourceInvalid", "TargetInvalid", "ScheduleInvalid", "AddressRefused", "ClaimInUse", "ClaimTaken",
            "ClaimUnusable",
        ].contains(reason)
        func condition(_ type: String, _ holds: Bool, _ reason: String, _ message: String) -> Condition {
            var condition = Condition(type: type, status: holds ? "True" : "False", reason: reason, message: message)
            let old = item.status?.conditions?.first { $0.type == type }
            condition.lastTransitionTime = old?.status == condition.status ? old?.lastTransitionTime ?? now : now
            condition.observedGeneration = item.metadata.generation
            return condition
        }
        let isReady = phase == .succeeded || phase == .ready || phase == .scheduled && status.latestClaim != nil
        status.conditions = [
            condition(
                "Accepted", !isRefused, isRefused ? reason : "Accepted",
                isRefused ? message : "Nothing speaks against it."),
            condition("Running", phase == .running, reason, message),
            condition("Ready", isReady, reason, message),
        ]
        return status
    }

    /// A merge patch that makes `old` into `new`: what isn't there any more is null. Nil: nothing to do.
    static func patch(from old: DatasetImport.Status?, to new: DatasetImport.Status) -> JSON? {
        let new = json(new)
        let difference = change(from: old.map(json) ?? .object([:]), to: new)
        return difference.object?.isEmpty == true ? nil : ["status": difference]
    }

    private static func change(from old: JSON, to new: JSON) -> JSON {
        var out = JSON.object([:])
        for (name, value) in new.object ?? [:] where old[name] != value {
            if case .object = value, case .object? = old[name] {
                out[name] = change(from: old[name]!, to: value)
            } else {
                out[name] = value
            }
        }
        for name in (old.object ?? [:]).keys where new[name] == nil { out[name] = .null }
        return out
    }

    private static func json(_ status: DatasetImport.Status) -> JSON {
        guard let data = try? JSONEncoder().encode(status), let json = try? JSON(parsing: Array(data)) else {
            return .object([:])
        }
        return json
    }
}
