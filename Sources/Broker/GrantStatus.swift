import Kubernetes

/// Statuses as patches: what isn't set is removed.
extension CredentialGrant.Status {
    var patch: JSON {
        func text(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
        func number(_ value: Int?) -> JSON { value.map { .integer($0) } ?? .null }
        return [
            "observedGeneration": number(observedGeneration), "session": number(session),
            "secretName": text(secretName), "sessionName": text(sessionName), "roleARN": text(roleARN),
            "scope": text(scope), "issuedAt": text(issuedAt), "expiresAt": text(expiresAt), "renewAt": text(renewAt),
            "conditions": .array((conditions ?? []).map(\.patch)),
        ]
    }

    /// Sets a condition; its time stays where its status does.
    mutating func set(_ type: String, _ status: String, _ reason: String, _ message: String, generation: Int?) {
        var condition = Condition(type: type, status: status, reason: reason, message: message)
        condition.observedGeneration = generation
        let old = conditions?.first { $0.type == type }
        condition.lastTransitionTime = old?.status == status ? old?.lastTransitionTime : Timestamp.now()
        conditions = (conditions ?? []).filter { $0.type != type } + [condition]
    }
}

extension Condition {
    fileprivate var patch: JSON {
        var json: JSON = [
            "type": .string(type), "status": .string(status), "reason": .string(reason), "message": .string(message),
        ]
        json["lastTransitionTime"] = lastTransitionTime.map { .string($0) }
        json["observedGeneration"] = observedGeneration.map { .integer($0) }
        return json
    }
}
