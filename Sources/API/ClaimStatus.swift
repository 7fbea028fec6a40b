import Controller
import Imports
import Kubernetes

/// All that is known of one claim, from wherever it is known.
struct ClaimStatus: Sendable {
    var key: ObjectKey
    var claim: PersistentVolumeClaim?
    var copy: DatasetImport.Status?
    var dataset: Dataset?
    var background: Background.State?

    enum Phase: String, CaseIterable {
        /// There is no such claim.
        case absent = "NotFound"
        /// It is being made, in the background.
        case making = "Creating"
        /// Waits to be bound, or for its first pod.
        case pending = "Pending"
        case copying = "Copying"
        case ready = "Ready"
        case failed = "Failed"
    }

    /// Made by this API.
    var isOurs: Bool { claim?.metadata.labels?[Labels.service] == Labels.serviceValue }

    var phase: Phase {
        guard let claim else {
            switch background {
            case .running: return .making
            case .failed: return .failed
            case nil: return .absent
            }
        }
        if claim.metadata.annotations?[Names.incomplete] != nil { return .making }
        if claim.status?.phase == "Lost" { return .failed }
        if let copy {
            if copy.phase == .failed { return .failed }
            if copy.phase != .succeeded { return copy.phase == .running ? .copying : .pending }
        }
        return claim.status?.phase == "Bound" ? .ready : .pending
    }

    private var isClone: Bool { claim?.spec.dataSource?.kind == PersistentVolumeClaim.resource.kind }

    var message: String {
        if case .failed(let problem) = background, claim == nil { return problem.message }
        if let message = copy?.message, !message.isEmpty { return message }
        switch phase {
        case .absent: return "there is no claim \(key)"
        case .making: return "it is being made"
        case .pending:
            return isClone
                ? "it isn't bound yet; where its class can't clone, the claim's events say so"
                : "it isn't bound yet; some classes wait for the first pod that uses it"
        case .copying: return "objects are being copied"
        case .ready: return "pods can use it"
        case .failed: return "its volume is lost: its grant was taken back, or somebody deleted it"
        }
    }

    private func count(_ annotation: String) -> Int? { claim?.metadata.annotations?[annotation].flatMap { Int($0) } }

    /// All bytes that the claim is to show.
    var bytesTotal: Int? { copy?.progress?.bytesTotal ?? dataset?.status?.bytes ?? count(Labels.requestedSize) }
    var objects: Int? { copy?.progress?.objects ?? dataset?.status?.objects ?? count(Labels.objectCount) }

    /// Bytes that can be read now.
    var bytes: Int {
        if phase == .ready { return copy?.progress?.bytes ?? bytesTotal ?? 0 }
        return copy?.progress?.bytes ?? 0
    }

    var percent: Int {
        if phase == .ready { return 100 }
        guard let copy else { return 0 }
        if let percent = copy.progress?.percent { return min(max(percent, 0), 100) }
        guard let total = bytesTotal, total > 0 else { return 0 }
        return min(99, Int(Double(copy.progress?.bytes ?? 0) / Double(total) * 100))
    }

    // MARK: As PVCi tells it

    var compat: JSON {
        let failure = injectorError
        var report: JSON = [
            "InjectorHasError": .bool(failure != nil), "InjectorError": .string(failure ?? ""),
            "InjectorState": injectorState, "PVCHasError": .bool(claim == nil),
            "PVCError": .string(claim == nil ? "persistentvolumeclaims \"\(key.name)\" not found" : ""),
            "PVCStatus": .object([:]), "Phase": .string(phase.rawValue), "Percent": .integer(percent),
            "Bytes": .integer(bytes),
        ]
        if let status = claim?.status {
            var json: JSON = .object([:])
            json["phase"] = status.phase.map { .string($0) }
            json["accessModes"] = status.accessModes.map { .array($0.map { .string($0) }) }
            json["capacity"] = status.capacity.map { JSON($0) }
            report["PVCStatus"] = json
        }
        return report
    }

    private var injectorError: String? {
        if case .failed(let problem) = background, claim == nil { return problem.message }
        return copy?.phase == .failed ? message : nil
    }

    /// As a Job's status is written. What needs no copy has succeeded once it is bound.
    private var injectorState: JSON {
        var state: JSON = .object([:])
        switch phase {
        case .absent: return state
        case .making, .pending, .copying: state["active"] = 1
        case .ready: state["succeeded"] = 1
        case .failed: state["failed"] = 1
        }
        state["startTime"] = copy?.startTime.map { .string($0) }
        state["completionTime"] = copy?.completionTime.map { .string($0) }
        return state
    }

    // MARK: As a resource

    var resource: JSON {
        let annotations = claim?.metadata.annotations ?? [:]
        let kind: ClaimPlan.Kind =
            isClone
            ? .clone
            : copy != nil || claim?.metadata.labels?[Labels.job] != nil
                ? .copy : annotations[Labels.origin] == nil ? .dataset : .zeroCopy
        var json: JSON = [
            "namespace": .string(key.namespace), "name": .string(key.name), "phase": .string(phase.rawValue),
            "message": .string(message), "percent": .integer(percent), "bytes": .integer(bytes),
        ]
        json["objects"] = objects.map { .integer($0) }
        json["bytesTotal"] = bytesTotal.map { .integer($0) }
        guard let claim else { return json }
        json["kind"] = .string(kind.rawValue)
        json["storageClassName"] = claim.spec.storageClassName.map { .string($0) }
        json["volumeName"] = claim.spec.volumeName.map { .string($0) }
        json["capacity"] = claim.spec.resources?.requests?["storage"].map { .string($0) }
        json["accessModes"] = (claim.status?.accessModes ?? claim.spec.accessModes).map {
            .array($0.map { .string($0) })
        }
        json["claimPhase"] = claim.status?.phase.map { .string($0) }
        json["dataset"] = annotations[Names.dataset].map { .string($0) }
        json["origin"] = annotations[Labels.origin].map { .string($0) }
        return json
    }
}
