import Kubernetes
import KubernetesTestSupport
import Testing
import Threads

@testable import API
@testable import Controller

/// Who is let in, and for what.
@Suite(.serialized) struct AccessTests {
    @Test("P15: without a token that Kubernetes knows nothing is answered but the root and the document")
    func tokens() async throws {
        let fixture = try Fixture()
        try await fixture.serving {
            let revision = fixture.kube.revision
            for endpoint in fixture.service.endpoints {
                for token in [nil, "nobody's", ""] {
                    let reply = try await fixture.send(
                        endpoint.method.rawValue, endpoint.path.filled, endpoint.body == nil ? nil : [:], token: token)
                    #expect(reply.status == (endpoint.isPublic ? 200 : 401), "\(endpoint.id) \(token ?? "none")")
                    if !endpoint.isPublic { #expect(reply.headers["www-authenticate"] == "Bearer") }
                    #expect(!reply.text.contains("nobody's"))
                }
            }
            #expect(fixture.kube.revision == revision)
        }
    }

    @Test("P15: what the caller may not do themselves isn't done for them, on any route")
    func forbidden() async throws {
        let fixture = try Fixture()
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("set", class: "millrace"))
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            let revision = fixture.kube.revision
            let bodies: [String: JSON] = [
                "/size": fixture.place(), "/create": fixture.order("x", class: "millrace"),
                "/create-async": fixture.order("x", class: "block"),
                "/v1/size": ["source": ["s3": ["bucket": "b", "anonymous": true]]],
                "/v1/namespaces/team/claims": [
                    "name": "x", "storageClassName": "millrace", "dataset": "team/set",
                ], "/v1/namespaces/team/claims/set/mode": ["accessMode": "ReadOnlyMany"],
                "/v1/namespaces/team/datasets": ["name": "x", "spec": ["source": ["s3": ["bucket": "b"]]]],
                "/v1/namespaces/team/imports": ["name": "x", "spec": ["source": ["s3": ["bucket": "b"]]]],
                "/v1/credentials/team/set/team": [:],
            ]
            for endpoint in fixture.service.endpoints where !endpoint.isPublic {
                let path = endpoint.path.filled
                let body = endpoint.body == nil ? nil : bodies[path] ?? Fixture.name("set")
                let reply = try await fixture.send(endpoint.method.rawValue, path, body, token: "user:stranger")
                #expect(reply.status == 403, "\(endpoint.id): \(reply.text)")
                #expect(reply.text.contains("stranger may not"), "\(endpoint.id): \(reply.text)")
            }
            #expect(fixture.kube.revision == revision)
        }
    }

    @Test("P15: each object that is made needs its own right: Secrets, Datasets and imports as well as claims")
    func everyRight() async throws {
        let fixture = try Fixture()
        try await fixture.serving {
            for (kind, missing) in [("millrace", "secrets"), ("millrace", "datasets"), ("block", "datasetimports")] {
                fixture.kube.setAccess { $0.allows = { $0.resource != missing } }
                let reply = try await fixture.post("/create", fixture.order("x", class: kind))
                #expect(reply.status == 403 && reply.text.contains(missing), "\(missing): \(reply.text)")
            }
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test("P15: a Secret that the caller can't read isn't used for them")
    func othersSecrets() async throws {
        let fixture = try Fixture()
        try await fixture.serving {
            fixture.kube.setAccess { $0.allows = { !($0.resource == "secrets" && $0.verb == "get") } }
            let order: JSON = [
                "name": "x", "storageClassName": "millrace", "secretRef": ["name": "theirs"],
                "source": ["s3": ["bucket": "datasets", "endpoint": .string(fixture.s3.endpoint)]],
            ]
            let reply = try await fixture.send("POST", "/v1/namespaces/team/claims", order)
            #expect(reply.status == 403 && reply.body["title"] == "Forbidden")
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test func answersAboutTokensAreKeptForAWhileAndNoLonger() async throws {
        let fixture = try Fixture()
        defer {
            fixture.s3.stop()
            fixture.kube.stop()
        }
        let authenticator = Authenticator(client: fixture.client, audiences: [])
        let start = Instant.now
        #expect(authenticator.known("user:alice", now: start) == .none)
        #expect(try await authenticator.ask("user:alice", now: start)?.username == "alice")
        #expect(try await authenticator.ask("wrong", now: start) == nil)
        let reviews = fixture.kube.callCounts["create tokenreviews"]
        #expect(authenticator.known("user:alice", now: start)??.username == "alice")
        guard case .some(.none) = authenticator.known("wrong", now: start) else {
            Issue.record("that it is nobody's isn't known")
            return
        }
        #expect(fixture.kube.callCounts["create tokenreviews"] == reviews)
        let later = start.advanced(byMs: Authenticator.refusalKeptMs + 1)
        #expect(authenticator.known("wrong", now: later) == .none)
        #expect(authenticator.known("user:alice", now: later)??.username == "alice")
        #expect(authenticator.known("user:alice", now: start.advanced(byMs: Authenticator.keptMs + 1)) == .none)
        for i in 0..<(Authenticator.mostKept + 10) { _ = try await authenticator.ask("user:\(i)", now: start) }
        #expect(authenticator.keptCount <= Authenticator.mostKept)
    }

    @Test func aTokenMustBeForOneOfOurAudiences() async throws {
        let fixture = try Fixture()
        defer {
            fixture.s3.stop()
            fixture.kube.stop()
        }
        let ours = Authenticator(client: fixture.client, audiences: ["millrace"])
        #expect(try await ours.ask("user:alice")?.username == "alice")
        fixture.kube.setAccess { $0.knowsAudiences = false }
        #expect(try await ours.ask("user:bob") == nil)
    }

    @Test func whoHasNoTokenIsTheCompatUserOnThatListenerAlone() async throws {
        let fixture = try Fixture { $0.compatUser = "team-user" }
        try await fixture.serving {
            let port = fixture.service.compatPort
            let order = fixture.order("set", class: "millrace")
            let made = try await fixture.send("POST", "/create", order, token: nil, port: port)
            #expect(made.status == 200, "\(made.text)")
            #expect(try await fixture.send("POST", "/status", Fixture.name("set"), token: nil).status == 401)
            // A token goes first, also a bad one.
            let bad = try await fixture.send("POST", "/status", Fixture.name("set"), token: "bad", port: port)
            #expect(bad.status == 401)
            #expect(try await fixture.send("GET", "/v1/namespaces/team/claims", token: nil, port: port).status == 404)
        }
        #expect(
            Gatekeeper.groups(of: "system:serviceaccount:a:b") == [
                "system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated",
            ])
    }

    @Test func whenKubernetesCantBeAskedNobodyIsLetIn() async throws {
        let fixture = try Fixture()
        try await fixture.serving {
            fixture.kube.inject(Fault(resource: "tokenreviews", .lostRequest, count: 1))
            let reply = try await fixture.post("/status", Fixture.name("x"))
            #expect(reply.status == 503 && reply.headers["retry-after"] != nil)
            fixture.kube.inject(
                Fault(resource: "subjectaccessreviews", .status(500, reason: "InternalError"), count: 1))
            #expect(try await fixture.post("/status", Fixture.name("x")).status == 503)
            #expect(try await fixture.post("/status", Fixture.name("x")).status == 200)
        }
    }
}

extension String {
    /// A path with its parameters filled in.
    var filled: String {
        [("namespace", "team"), ("name", "set"), ("owner", "team"), ("storage", "set")]
            .reduce(self) { $0.replacing("{\($1.0)}", with: $1.1) }
    }
}
