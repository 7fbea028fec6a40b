import Controller
import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Logging
import PrometheusMetrics
import S3
import Testing
import Threads

@testable import Broker

typealias GrantKey = Kubernetes.ObjectKey

let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

private let definitions = Resource(
    group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition", isNamespaced: false)

/// A store that mints and denies as it is told to, and remembers.
final class ScriptedSessions: SessionService {
    struct Minted: Sendable, Equatable {
        var session: String
        var scope: GrantScope
        var accessKeyID: String
    }
    struct State: Sendable {
        var minted: [Minted] = []
        var denied: [String] = []
        var mintFailure: MintFailure?
        var denial = Denial.denied
        var keys: Set<String> = []
    }
    let state = Locked(State())
    let clock: Locked<Int64>

    init(clock: Locked<Int64>) { self.clock = clock }

    func mint(
        _ scope: GrantScope, session: String, with keys: SourceCredentials
    ) async -> Result<Credentials, MintFailure> {
        let now = clock.withLock { $0 }
        return state.withLock { state in
            if let failure = state.mintFailure { return .failure(failure) }
            state.keys.insert(keys.accessKeyID)
            let id = "AK\(state.minted.count + 1)"
            state.minted.append(Minted(session: session, scope: scope, accessKeyID: id))
            return .success(
                Credentials(
                    accessKeyID: id, secretAccessKey: S3.Secret("secret-\(id)"), sessionToken: S3.Secret("token-\(id)"),
                    expires: now + Int64(scope.ttlSeconds)))
        }
    }

    func deny(
        _ session: String, at store: BrokeredStore, until: Int64, with keys: SourceCredentials
    ) async -> Denial {
        state.withLock { state in
            if state.denial == .denied { state.denied.append(session) }
            return state.denial
        }
    }

    var minted: [Minted] { state.withLock(\.minted) }
    var denied: [String] { state.withLock(\.denied) }
}

/// A cluster with a Dataset `storage/results` whose owner lets keys be minted, granted to namespaces of `run: yes`.
struct World {
    let server: APIServer
    let clock = Locked<Int64>(1_900_000_000)
    let sessions: ScriptedSessions
    let client: Client
    let reconciler: GrantReconciler
    let broker: CredentialBroker

    init(hook: (@Sendable (APIRequest, Bool) throws(APIError) -> Void)? = nil) throws {
        server = APIServer()
        for file in ["datasets", "credentialgrants"] {
            let url = root.appending(path: "charts/millrace/files/\(file).yaml")
            server.create(definitions, try JSON(yaml: String(contentsOf: url, encoding: .utf8)))
        }
        for (name, label) in [("storage", "no"), ("run-1", "yes"), ("stranger", "no")] {
            server.create(Namespace.resource, ["metadata": ["name": .string(name), "labels": ["run": .string(label)]]])
        }
        server.create(
            Kubernetes.Secret.resource,
            [
                "metadata": ["name": "broker"],
                "stringData": ["accessKeyID": "BROKER", "secretAccessKey": "very-secret"],
            ], namespace: "storage")
        let clock = clock
        sessions = ScriptedSessions(clock: clock)
        var transport = DirectTransport(server)
        transport.hook = hook
        client = Client(transport: transport, fieldManager: "test")
        reconciler = GrantReconciler(
            client: client, sessions: sessions, metrics: Registry(), logger: Logger(label: "test"),
            now: { clock.withLock { $0 } })
        broker = CredentialBroker(client: client, reconciler: reconciler)
        server.create(
            Dataset.resource,
            [
                "metadata": ["name": "results"],
                "spec": [
                    "source": [
                        "s3": ["bucket": "bkt", "prefix": "results", "endpoint": "http://127.0.0.1:9", "region": "r-1"]
                    ],
                    "secretRef": ["name": "mount"],
                    "allowedNamespaces": ["from": "Selector", "selector": ["matchLabels": ["run": "yes"]]],
                    "broker": [
                        "roleARN": "arn:aws:iam::1:role/mr", "secretRef": ["name": "broker"], "access": "ReadWrite",
                        "maxTTLSeconds": 7200,
                    ],
                ],
            ], namespace: "storage")
    }

    func stop() { server.stop() }

    func grant(_ name: String = "g", in namespace: String = "run-1", _ spec: JSON = [:]) {
        let base: JSON = ["dataset": "storage/results"]
        server.create(
            CredentialGrant.resource, ["metadata": ["name": .string(name)], "spec": base.merged(with: spec)],
            namespace: namespace)
    }

    func object(_ name: String = "g", in namespace: String = "run-1") -> JSON? {
        server.object(CredentialGrant.resource, name, namespace: namespace)
    }

    @discardableResult
    func reconcile(_ name: String = "g", in namespace: String = "run-1") async -> WorkOutcome {
        await reconciler.reconcile(GrantKey(namespace: namespace, name: name))
    }

    /// A Secret's decoded data.
    func secret(_ name: String = "g", in namespace: String = "run-1") -> [String: String]? {
        server.object(Kubernetes.Secret.resource, name, namespace: namespace)?["data"]?.object?.mapValues {
            String(decoding: Data(base64Encoded: $0.string ?? "") ?? Data(), as: UTF8.self)
        }
    }

    func condition(_ type: String, _ name: String = "g", in namespace: String = "run-1") -> JSON? {
        object(name, in: namespace)?.at("status", "conditions")?.array?.first { $0["type"]?.string == type }
    }

    func pass(seconds: Int64) { clock.withLock { $0 += seconds } }

    func order(_ body: String = "", in namespace: String = "run-1") throws -> KeyOrder {
        try KeyOrder(
            body.isEmpty ? .null : JSON(parsing: Array(body.utf8)),
            storage: GrantKey(namespace: "storage", name: "results"), namespace: namespace)
    }
}

/// What a call that must fail threw.
func failure<T>(_ call: () async throws(BrokerFailure) -> T) async -> BrokerFailure? {
    do throws(BrokerFailure) {
        _ = try await call()
        return nil
    } catch { return error }
}

func decodedForTest<T: Decodable>(_ type: T.Type, _ json: JSON) throws -> T {
    try JSONDecoder().decode(T.self, from: Data(json.bytes))
}
