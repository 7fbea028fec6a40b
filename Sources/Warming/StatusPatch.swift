import Controller
import FoundationEssentials
import Kubernetes

extension Dataset.WarmStatus {
    /// A merge patch that leaves nothing of an older status: members that aren't there are null.
    var patch: JSON {
        var json = (try? JSONEncoder().encode(self)).flatMap { try? JSON(parsing: [UInt8]($0)) } ?? [:]
        for name in ["message", "nodes", "shares", "nodeAffinity", "scheduledAt"] where json[name] == nil {
            json[name] = .null
        }
        return json
    }
}

extension Condition {
    var json: JSON {
        var json: JSON = [
            "type": .string(type), "status": .string(status), "reason": .string(reason), "message": .string(message),
        ]
        json["lastTransitionTime"] = lastTransitionTime.map { .string($0) }
        json["observedGeneration"] = observedGeneration.map { .integer($0) }
        return json
    }
}
