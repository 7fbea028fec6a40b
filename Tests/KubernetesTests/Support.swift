import Kubernetes
import KubernetesTestSupport
import Logging
import Testing

@testable import Kubernetes

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension Client {
    init(_ server: APIServer) { self.init(transport: DirectTransport(server), fieldManager: "test") }
}

/// Waits until something holds; fails the test after ten seconds.
func eventually(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async -> Bool
) async {
    for _ in 0..<2000 {
        if await condition() { return }
        try? await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("never: \(what)", sourceLocation: sourceLocation)
}

func claim(_ name: String, namespace: String = "default", storageClass: String = "nosuch") -> PersistentVolumeClaim {
    var spec = PersistentVolumeClaim.Spec()
    spec.accessModes = ["ReadOnlyMany"]
    spec.resources = PersistentVolumeClaim.Resources(requests: ["storage": "1Gi"])
    spec.storageClassName = storageClass
    return PersistentVolumeClaim(metadata: ObjectMeta(name: name, namespace: namespace), spec: spec)
}

/// The error a call ends with; fails the test where it succeeds.
func failure<T>(
    _ call: () async throws(APIError) -> T, sourceLocation: SourceLocation = #_sourceLocation
) async -> APIError {
    do throws(APIError) {
        _ = try await call()
        Issue.record("the call succeeded", sourceLocation: sourceLocation)
        return .network("none")
    } catch {
        return error
    }
}
