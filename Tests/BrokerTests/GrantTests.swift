import Controller
import Kubernetes
import KubernetesTestSupport
import Testing
import Threads

@testable import Broker

@Suite struct CredentialGrantTests {
    @Test("O1: a grant names a storage and a namespace, and its keys are minted with the owner's broker keys")
    func mints() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("g", ["access": "ReadWrite", "subPath": "out"])
        await world.reconcile()
        let minted = try #require(world.sessions.minted.first)
        #expect(world.sessions.minted.count == 1)
        #expect(world.sessions.state.withLock(\.keys) == ["BROKER"])
        #expect(minted.scope.prefix == "results/out/" && minted.scope.access == .readWrite)
        #expect(minted.session.hasPrefix("run-1.g."))
        #expect(world.condition("Ready")?["status"] == "True")
        #expect(world.object()?.at("status", "sessionName")?.string == minted.session)
        let secret = try #require(world.secret())
        #expect(
            secret == [
                "accessKeyID": "AK1", "secretAccessKey": "secret-AK1", "sessionToken": "token-AK1",
                "endpoint": "http://127.0.0.1:9", "region": "r-1",
            ])
        // As a Dataset's secretRef it is understood.
        _ = try SourceCredentials(secret: secret, named: "g")
    }

    @Test("O5: the Secret's keys have the names that its readers want")
    func keyNames() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant(
            "g",
            [
                "secretName": "argo-s3",
                "keys": [
                    "accessKeyID": "accesskey", "secretAccessKey": "secretkey", "sessionToken": "token",
                    "bucket": "BUCKET", "expiration": "until",
                ],
            ])
        await world.reconcile()
        let secret = try #require(world.secret("argo-s3"))
        #expect(
            Set(secret.keys) == ["accesskey", "secretkey", "token", "endpoint", "region", "BUCKET", "until"])
        #expect(secret["accesskey"] == "AK1" && secret["BUCKET"] == "bkt")
        // Other names from now on: the old ones go, and so does a Secret under an old name.
        _ = world.server.patch(
            CredentialGrant.resource, "g", namespace: "run-1", ["spec": ["secretName": "other", "keys": .null]])
        await world.reconcile()
        #expect(world.secret("argo-s3") == nil)
        #expect(world.secret("other").map { Set($0.keys) }?.contains("accessKeyID") == true)
        #expect(world.sessions.denied.isEmpty, "the same scope: keys that were minted still may work")
    }

    @Test("O6: keys are renewed before they expire, at a time that differs between grants")
    func renews() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("g", ["ttlSeconds": 1000])
        guard case .again(let first) = await world.reconcile() else { return #expect(Bool(false)) }
        #expect(first >= 1)
        guard case .again(let ms) = await world.reconcile() else { return #expect(Bool(false)) }
        #expect((599_000...801_000).contains(ms))
        #expect(world.sessions.minted.count == 1)
        world.pass(seconds: Int64(ms / 1000) - 1)
        await world.reconcile()
        #expect(world.sessions.minted.count == 1)
        world.pass(seconds: 1)
        await world.reconcile()
        #expect(world.sessions.minted.count == 2)
        #expect(world.sessions.minted[0].session == world.sessions.minted[1].session)
        #expect(world.secret()?["accessKeyID"] == "AK2")
        var random = SystemRandomNumberGenerator()
        let times = Set((0..<50).map { _ in GrantPlan.renewal(issued: 0, expires: 10_000, using: &random) })
        #expect(times.count > 5 && times.allSatisfy { (6000...8000).contains($0) })
    }

    @Test("O6: a store that fails leaves keys that still work, and says so; then they count as gone")
    func failingRenewal() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("g", ["ttlSeconds": 1000])
        await world.reconcile()
        world.sessions.state.withLock { $0.mintFailure = MintFailure("STS at 127.0.0.1 answered AccessDenied") }
        world.pass(seconds: 900)
        guard case .failed = await world.reconcile() else { return #expect(Bool(false)) }
        #expect(world.condition("Ready")?["status"] == "True")
        #expect(world.condition("Ready")?["reason"] == "RenewalFails")
        world.pass(seconds: 101)
        await world.reconcile()
        #expect(world.condition("Ready")?["status"] == "False")
        #expect(world.condition("Ready")?["message"]?.string?.contains("AccessDenied") == true)
        world.sessions.state.withLock { $0.mintFailure = nil }
        await world.reconcile()
        #expect(world.condition("Ready")?["reason"] == "Minted")
    }

    @Test("O6: a deleted grant's session is denied, its Secret goes, and only then the grant")
    func deletes() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant()
        await world.reconcile()
        let session = try #require(world.sessions.minted.first?.session)
        world.sessions.state.withLock { $0.denial = .failed("no answer") }
        _ = world.server.delete(CredentialGrant.resource, "g", namespace: "run-1")
        guard case .failed = await world.reconcile() else { return #expect(Bool(false)) }
        #expect(world.object() != nil, "held until the store has answered")
        world.sessions.state.withLock { $0.denial = .denied }
        await world.reconcile()
        #expect(world.object() == nil && world.secret() == nil)
        #expect(world.sessions.denied == [session])
    }

    @Test("O6: where the store can't deny, the grant goes and an Event says until when the keys work")
    func cannotDeny() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant()
        await world.reconcile()
        world.sessions.state.withLock { $0.denial = .impossible("IAM at 127.0.0.1 answered NotImplemented") }
        _ = world.server.delete(CredentialGrant.resource, "g", namespace: "run-1")
        await world.reconcile()
        #expect(world.object() == nil && world.secret() == nil)
        let event = try #require(world.server.objects(Event.resource).first { $0["reason"] == "NotDenied" })
        #expect(event["message"]?.string?.contains("end by themselves at 2030-") == true)
        #expect(event["message"]?.string?.contains("NotImplemented") == true)
    }

    @Test("O6: a store that never answers doesn't hold a grant longer than its keys live")
    func givesUp() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("g", ["ttlSeconds": 900])
        await world.reconcile()
        world.sessions.state.withLock { $0.denial = .failed("no answer") }
        _ = world.server.delete(CredentialGrant.resource, "g", namespace: "run-1")
        await world.reconcile()
        #expect(world.object() != nil)
        world.pass(seconds: 901)
        await world.reconcile()
        #expect(world.object() == nil && world.secret() == nil)
    }

    @Test func aGrantThatIsTakenBackDeniesItsKeysAndOneThatIsGivenAgainGetsAnotherSession() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant()
        await world.reconcile()
        let first = try #require(world.sessions.minted.first?.session)
        _ = world.server.patch(Namespace.resource, "run-1", ["metadata": ["labels": ["run": "no"]]])
        await world.reconcile()
        #expect(world.sessions.denied == [first])
        #expect(world.secret() == nil)
        #expect(world.condition("Ready")?["reason"]?.string == Refusal.notAllowed)
        _ = world.server.patch(Namespace.resource, "run-1", ["metadata": ["labels": ["run": "yes"]]])
        await world.reconcile()
        let second = try #require(world.sessions.minted.last?.session)
        #expect(second != first && world.secret() != nil)
    }

    @Test func aNarrowerScopeDeniesTheWiderKeys() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("g", ["access": "ReadWrite"])
        await world.reconcile()
        let wide = try #require(world.sessions.minted.first?.session)
        _ = world.server.patch(
            Dataset.resource, "results", namespace: "storage",
            ["spec": ["source": ["s3": ["prefix": "results/public"]]]])
        await world.reconcile()
        #expect(world.sessions.denied == [wide])
        #expect(world.sessions.minted.last?.scope.prefix == "results/public/")
        #expect(world.sessions.minted.last?.session != wide)
    }

    @Test func whatTheOwnerDoesNotPermitIsRefusedAndNothingIsMinted() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant("stranger", in: "stranger")
        world.grant("long", ["ttlSeconds": 7201])
        world.grant("none", ["dataset": "storage/nothing"])
        for (name, namespace, reason, text) in [
            ("stranger", "stranger", "NotAllowed", "isn't there or isn't granted"),
            ("long", "run-1", "TTL", "permits from 900 to 7200"),
            ("none", "run-1", "NotAllowed", "isn't there or isn't granted"),
        ] {
            await world.reconcile(name, in: namespace)
            let ready = world.condition("Ready", name, in: namespace)
            #expect(ready?["status"] == "False" && ready?["reason"]?.string == reason, "\(name)")
            #expect(ready?["message"]?.string?.contains(text) == true)
            #expect(world.secret(name, in: namespace) == nil)
        }
        _ = world.server.patch(
            Dataset.resource, "results", namespace: "storage", ["spec": ["broker": ["access": "ReadOnly"]]])
        world.grant("wide", ["access": "ReadWrite"])
        await world.reconcile("wide")
        #expect(world.condition("Ready", "wide")?["reason"]?.string == Refusal.notAllowed)
        _ = world.server.patch(Dataset.resource, "results", namespace: "storage", ["spec": ["broker": .null]])
        world.grant("plain")
        await world.reconcile("plain")
        #expect(world.condition("Ready", "plain")?["reason"] == "BrokerMissing")
        #expect(world.sessions.minted.isEmpty)
    }

    @Test func aSecretThatIsntTheGrantsIsLeftAlone() async throws {
        let world = try World()
        defer { world.stop() }
        world.server.create(
            Kubernetes.Secret.resource, ["metadata": ["name": "g"], "stringData": ["mine": "yes"]], namespace: "run-1")
        world.grant()
        await world.reconcile()
        #expect(world.condition("Ready")?["reason"] == "SecretTaken")
        #expect(world.sessions.minted.isEmpty)
        _ = world.server.delete(CredentialGrant.resource, "g", namespace: "run-1")
        await world.reconcile()
        #expect(world.object() == nil)
        #expect(world.secret() == ["mine": "yes"])
    }

    @Test func aDeletedSecretComesBackWithFreshKeys() async throws {
        let world = try World()
        defer { world.stop() }
        world.grant()
        await world.reconcile()
        _ = world.server.delete(Kubernetes.Secret.resource, "g", namespace: "run-1")
        await world.reconcile()
        #expect(world.secret()?["accessKeyID"] == "AK2")
    }

    /// Cut off before and after every call of a whole life, then gone on with: nothing is left, and every session that
    /// was ever minted is denied.
    @Test func aCrashAnywhereLeavesNoKeysThatWork() async throws {
        struct Crash: Error {}
        let countdown = Locked(Int.max)
        let calls = Locked(0)
        func life() async throws {
            let world = try World { (_: APIRequest, _: Bool) throws(APIError) in
                calls.withLock { $0 += 1 }
                let isOver = countdown.withLock { left in
                    left -= 1
                    return left == 0
                }
                if isOver { throw .network("crash") }
            }
            defer { world.stop() }
            world.grant()
            await world.reconcile()
            await world.reconcile()
            _ = world.server.patch(
                CredentialGrant.resource, "g", namespace: "run-1", ["spec": ["access": "ReadWrite"]])
            await world.reconcile()
            await world.reconcile()
            #expect(world.condition("Ready")?["status"] == "True")
            #expect(world.sessions.minted.last.map(\.accessKeyID) == world.secret()?["accessKeyID"])
            _ = world.server.delete(CredentialGrant.resource, "g", namespace: "run-1")
            await world.reconcile()
            await world.reconcile()
            #expect(world.object() == nil && world.secret() == nil)
            let left = Set(world.sessions.minted.map(\.session)).subtracting(world.sessions.denied)
            #expect(left.isEmpty, "cut off at call \(countdown.withLock { $0 })")
        }
        try await life()
        let total = calls.withLock { $0 }
        #expect(total > 30)
        for cut in 1...total {
            countdown.withLock { $0 = cut }
            try await life()
        }
    }
}
