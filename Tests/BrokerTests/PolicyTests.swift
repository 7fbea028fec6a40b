import Controller
import Kubernetes
import Testing

@testable import Broker

@Suite struct PolicyTests {
    private func scope(_ edit: (inout JSON) -> Void = { _ in }) throws -> GrantScope {
        let world = try World()
        defer { world.stop() }
        var spec: JSON = ["dataset": "storage/results"]
        edit(&spec)
        var grant = CredentialGrant.Spec(dataset: "storage/results")
        grant.access = spec["access"]?.string
        grant.subPath = spec["subPath"]?.string
        grant.ttlSeconds = spec["ttlSeconds"]?.integer
        let object = try #require(world.server.object(Dataset.resource, "results", namespace: "storage"))
        let dataset = try decodedForTest(Dataset.self, object)
        var namespace = Namespace(metadata: ObjectMeta(name: "run-1", labels: ["run": "yes"]))
        namespace.status = nil
        return try GrantScope(
            CredentialGrant(metadata: ObjectMeta(name: "g", namespace: "run-1"), spec: grant), dataset, in: namespace)
    }

    @Test("O6: a reading session lists and reads below its prefix and nothing else")
    func reads() throws {
        let policy = SessionPolicy.allowing(try scope { $0["subPath"] = "a/b" })
        let statements = try #require(policy["Statement"]?.array)
        #expect(statements.allSatisfy { $0["Effect"] == "Allow" })
        #expect(statements[0]["Condition"] == ["StringLike": ["s3:prefix": ["results/a/b/", "results/a/b/*"]]])
        #expect(statements[2]["Resource"] == ["arn:aws:s3:::bkt/results/a/b/*"])
        #expect(statements[2]["Action"] == ["s3:GetObject"])
        #expect(policy.description.utf8.count < 2048, "AWS takes no more")
    }

    @Test func aWritingSessionAlsoPutsAndDeletes() throws {
        let policy = SessionPolicy.allowing(try scope { $0["access"] = "ReadWrite" })
        let actions = try #require(policy["Statement"]?.array?[2]["Action"]?.array)
        #expect(actions.contains("s3:PutObject") && actions.contains("s3:DeleteObject"))
        #expect(!actions.contains { $0.string?.contains("*") ?? false })
    }

    @Test func namesOfAmazonsOtherCloudsAreKept() {
        #expect(SessionPolicy.partition(of: "arn:aws-cn:iam::1:role/x") == "aws-cn")
        #expect(SessionPolicy.partition(of: nil) == "aws")
        #expect(SessionPolicy.partition(of: "nonsense") == "aws")
        #expect(STSSessions.roleName("arn:aws:iam::1:role/team/mr") == "mr")
        #expect(STSSessions.roleName("arn:aws:iam::1:user/x") == nil)
    }

    @Test("O6: a scope that differs in what may be done has another digest, and a TTL alone has not")
    func digests() throws {
        let base = try scope()
        #expect(base.digest == (try scope { $0["ttlSeconds"] = 900 }).digest)
        #expect(base.digest != (try scope { $0["access"] = "ReadWrite" }).digest)
        #expect(base.digest != (try scope { $0["subPath"] = "a" }).digest)
    }

    @Test(arguments: ["*", "a*b", "a?", "${aws:username}"]) func patternsInAPathAreRefused(_ path: String) throws {
        let refusal = #expect(throws: Refusal.self) { _ = try scope { $0["subPath"] = .string(path) } }
        #expect(refusal?.message.contains("pattern") == true)
    }

    @Test func aStoreWhoseClockIsBehindIsNotAskedAllTheTime() {
        var random = SystemRandomNumberGenerator()
        #expect(GrantPlan.renewal(issued: 1000, expires: 500, using: &random) == 1060)
    }

    @Test func namesOfSessionsFitAndTellGrantsApart() {
        var first = CredentialGrant(
            metadata: ObjectMeta(
                name: String(repeating: "n", count: 250), namespace: String(repeating: "s", count: 63)),
            spec: .init(dataset: "a/b"))
        first.metadata.uid = "uid-1"
        var second = first
        second.metadata.uid = "uid-2"
        #expect(first.sessionName(1_000_000).utf8.count <= 64)
        #expect(first.sessionName(1) != second.sessionName(1))
        #expect(first.sessionName(1) != first.sessionName(2))
        // A name that another begins with would be denied with it: the pattern ends where the name does.
        #expect(SessionPolicy.denying(session: "x.1").description.contains(#""*:x.1""#))
    }
}
