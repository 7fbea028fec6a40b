import Controller
import Kubernetes
import Testing
import Threads

@testable import Broker

/// The HTTP API's orders, with a controller at work beside.
@Suite struct OrderTests {
    private func withController(_ world: World, _ body: () async throws -> Void) async throws {
        let worker = Task {
            while !Task.isCancelled {
                for grant in world.server.objects(CredentialGrant.resource) {
                    await world.reconcile(
                        grant.at("metadata", "name")?.string ?? "", in: grant.at("metadata", "namespace")?.string ?? "")
                }
                try? await Task.sleep(for: .milliseconds(5))
            }
        }
        defer {
            worker.cancel()
            world.stop()
        }
        try await body()
        worker.cancel()
        await worker.value
    }

    @Test("O2: an empty POST mints keys and keeps them in a Secret of the namespace")
    func mint() async throws {
        let world = try World()
        try await withController(world) {
            let answer = try await world.broker.perform(try world.order())
            #expect(answer.status == 200 && answer.body["ready"] == true)
            #expect(answer.body["secretName"] == "results")
            #expect(world.secret("results")?["accessKeyID"] == "AK1")
            #expect(!answer.body.description.contains("secret-AK1"), "keys go to the Secret and nowhere else")
            // Once more: nothing changes.
            let again = try await world.broker.perform(try world.order("{}"))
            #expect(again.status == 200 && world.sessions.minted.count == 1)
        }
    }

    @Test("O3: a POST that asks to retrieve answers the keys, which another cluster stores")
    func retrieveAndStore() async throws {
        let (here, there) = (try World(), try World())
        defer { there.stop() }
        try await withController(here) {
            let answer = try await here.broker.perform(
                try here.order(#"{"retrieve": true, "access": "ReadWrite", "subPath": "run-1"}"#))
            #expect(answer.status == 200)
            #expect(answer.body.at("credentials", "secretAccessKey") == "secret-AK1")
            #expect(answer.body.at("credentials", "prefix") == "results/run-1/")
            #expect(here.server.objects(Kubernetes.Secret.resource).count == 1, "only the broker's own")
            let body: JSON = [
                "credentials": answer.body["credentials"]!, "keys": ["accessKeyID": "accesskey"], "secretName": "s3-b",
            ]
            let stored = try await there.broker.perform(try there.order(body.description))
            #expect(stored.status == 200 && stored.body["expiration"] == answer.body["expiration"])
            #expect(there.secret("s3-b")?["accesskey"] == "AK1")
            #expect(there.secret("s3-b")?["sessionToken"] == "token-AK1")
            // Fresh ones take their place.
            let fresh = try await here.broker.perform(
                try here.order(#"{"retrieve": true, "access": "ReadWrite", "subPath": "run-1"}"#))
            #expect(fresh.body.at("credentials", "accessKeyID") == "AK2")
            let renewed: JSON = ["credentials": fresh.body["credentials"]!, "secretName": "s3-b"]
            _ = try await there.broker.perform(try there.order(renewed.description))
            #expect(there.secret("s3-b")?["accessKeyID"] == "AK2" && there.secret("s3-b")?["accesskey"] == nil)
        }
    }

    @Test("O6: DELETE revokes what was minted, here and for elsewhere, and says what became of it")
    func revoke() async throws {
        let world = try World()
        let storage = GrantKey(namespace: "storage", name: "results")
        try await withController(world) {
            _ = try await world.broker.perform(try world.order())
            _ = try await world.broker.perform(try world.order(#"{"retrieve": true}"#))
            let sessions = Set(world.sessions.minted.map(\.session))
            #expect(sessions.count == 2)
            let answer = try await world.broker.revoke(storage, in: "run-1", name: nil, secretName: nil)
            #expect(answer.status == 200)
            let results = try #require(answer.body["revoked"]?.array)
            #expect(results.count == 2 && results.allSatisfy { $0["revoked"] == true }, "\(answer.body)")
            #expect(Set(world.sessions.denied) == sessions)
            #expect(world.secret("results") == nil && world.server.objects(CredentialGrant.resource).isEmpty)
            let again = try await world.broker.revoke(storage, in: "run-1", name: nil, secretName: nil)
            #expect(again.status == 200 && again.body["revoked"] == [])
        }
    }

    @Test("O6: DELETE says it where the keys go on until they expire")
    func revokeWithoutDenial() async throws {
        let world = try World()
        try await withController(world) {
            world.sessions.state.withLock { $0.denial = .impossible("not known here") }
            _ = try await world.broker.perform(try world.order())
            let answer = try await world.broker.revoke(
                GrantKey(namespace: "storage", name: "results"), in: "run-1", name: nil, secretName: nil)
            let result = try #require(answer.body["revoked"]?.array?.first)
            #expect(result["revoked"] == false)
            #expect(result["message"]?.string?.contains("end by themselves at") == true)
        }
    }

    @Test func deletingPostedKeysTakesOurSecretAndNoOther() async throws {
        let world = try World()
        defer { world.stop() }
        let storage = GrantKey(namespace: "storage", name: "results")
        world.server.create(
            Kubernetes.Secret.resource, ["metadata": ["name": "own"], "stringData": ["a": "b"]], namespace: "run-1")
        let keys = #"{"credentials": {"accessKeyID": "A", "secretAccessKey": "B"}, "secretName": "own"}"#
        let posted = try JSON(parsing: Array(keys.utf8))
        let taken = await failure { () async throws(BrokerFailure) in
            try await world.broker.perform(
                try KeyOrder(posted, storage: storage, namespace: "run-1"))
        }
        #expect(taken?.status == 409)
        _ = try await world.broker.revoke(storage, in: "run-1", name: nil, secretName: "own")
        #expect(world.secret("own") == ["a": "b"])
    }

    @Test func aNamespaceThatIsNotGrantedGetsNothing() async throws {
        let world = try World()
        try await withController(world) {
            for body in ["", #"{"retrieve": true}"#] {
                let order = try world.order(body, in: "stranger")
                let refusal = await failure { () async throws(BrokerFailure) in
                    try await world.broker.perform(order)
                }
                #expect(refusal?.status == 403, "\(String(describing: refusal))")
            }
            #expect(world.sessions.minted.isEmpty)
        }
    }

    @Test(arguments: [
        (#"[]"#, "isn't a JSON object"), (#"{"accessKey": "SECRET"}"#, "\"accessKey\" isn't known"),
        (#"{"credentials": {"accessKeyID": "A"}}"#, "secretAccessKey is missing"),
        (#"{"credentials": {"accessKeyID": "A", "secretAccessKey": 5}}"#, "must be a text"),
        (#"{"retrieve": "yes"}"#, "must be true or false"), (#"{"ttlSeconds": "1h"}"#, "whole number"),
        (#"{"keys": {"accessKeyID": "a/b"}}"#, "letters, digits"), (#"{"keys": {"password": "x"}}"#, "known are"),
        (#"{"keys": {"accessKeyID": "x", "secretAccessKey": "x"}}"#, "one name twice"),
        (#"{"retrieve": true, "credentials": {"accessKeyID": "A", "secretAccessKey": "B"}}"#, "exclude each other"),
        (#"{"credentials": "SECRET"}"#, "must be an object of texts"),
    ]) func badOrdersAreNamedWithoutTheirValues(_ body: String, _ expected: String) throws {
        let error = #expect(throws: BrokerFailure.self) {
            _ = try KeyOrder(
                JSON(parsing: Array(body.utf8)), storage: GrantKey(namespace: "a", name: "b"), namespace: "c")
        }
        #expect(error?.status == 400 && error?.message.contains(expected) == true, "\(String(describing: error))")
        #expect(error?.message.contains("SECRET") == false)
    }
}
