import Controller
import Glibc
import Kubernetes
import KubernetesTestSupport
import Manifests
import PrometheusMetrics
import TestSupport
import Testing
import Threads

import struct S3.ListRequest
import struct S3.S3Configuration
import class S3.TransferEngine

@testable import RevisionControl

/// The controller against the stand-ins of both servers: every revision is a real manifest in a real bucket.
@Suite(.serialized) struct RevisionControllerTests {
    let server: APIServer
    let s3: S3Server
    let clock = Locked(1_795_219_200)

    init() throws {
        server = try APIServer.cluster()
        s3 = try S3Server()
        for name in ["data/a", "data/b/c", "other/x"] { s3.put("bkt", name, name) }
    }

    private func running(_ body: (RevisionController) async throws -> Void) async throws {
        let engine = TransferEngine()
        let registry = Registry()
        let socket = try #require(SocketServer(server))
        let client = Client(
            transport: CurlTransport(Configuration(server: socket.url)), fieldManager: Names.controller)
        let clock = clock
        let controller = RevisionController(
            client: client, store: S3RevisionStore(engine: engine, metrics: registry, logger: quiet), metrics: registry,
            logger: quiet, now: { clock.withLock { $0 } })
        let task = Task { await controller.run() }
        try await body(controller)
        task.cancel()
        await task.value
        engine.stop()
        socket.stop()
        s3.stop()
        server.stop()
    }

    private func manifests() -> [String] {
        s3.keys("bkt").map(\.description).filter { $0.hasSuffix(".manifest") }
    }
    private func pointers() -> [String] {
        s3.keys("bkt").map(\.description).filter { $0.hasPrefix(".millrace/") && $0.hasSuffix("/newest") }
    }
    private func current() -> String? { server.dataset("iris")?.at("status", "revision", "current")?.string }

    private func tick(_ seconds: Int) { clock.withLock { $0 += seconds } }

    private func request(_ value: String) {
        server.patch(
            Dataset.resource, "iris", namespace: "courses",
            ["metadata": ["annotations": ["millrace.dev/new-revision": .string(value)]]])
    }

    @Test func aRevisionIsMadeAndRecorded() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"])
        try await running { _ in
            await eventually("ready") { server.phase("iris") == "Ready" }
            let record = try #require(server.dataset("iris")?.at("status", "revisions")?.array?.first)
            #expect(record["objects"] == 2)
            let uid = try #require(server.dataset("iris")?.at("metadata", "uid")?.string)
            let id = try #require(record["id"]?.string)
            #expect(manifests() == [".millrace/revisions/\(uid)/\(id).manifest"])
            #expect(record["manifest"]?.string == "s3://bkt/.millrace/revisions/\(uid)/\(id).manifest")
            #expect(server.dataset("iris")?.at("metadata", "finalizers") == ["millrace.dev/revisions"])
        }
    }

    @Test("C11: new revisions come by request and schedule, unchanged ones don't, the last N stay")
    func rollsForward() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned", "keep": 2])
        try await running { _ in
            await eventually("the first") { server.phase("iris") == "Ready" }
            let first = server.revisions("iris")
            request("1")
            await eventually("nothing changed") { server.message("iris").contains("Nothing has changed") }
            #expect(server.revisions("iris") == first && manifests().count == 1)

            server.add(volume: "v1", showing: first[0], of: "iris")
            for round in 2...4 {
                s3.put("bkt", "data/new\(round)", "x")
                tick(60)
                request("\(round)")
                await eventually("revision \(round)") {
                    server.dataset("iris")?.at("status", "revision", "request")?.string == "\(round)"
                        && server.phase("iris") == "Ready"
                }
            }
            await eventually("the last two and the one in use") {
                server.revisions("iris").count == 3 && manifests().count == 3
            }
            #expect(server.revisions("iris").contains(first[0]))
            #expect(server.revisions("iris").first! > first[0])

            server.delete(PersistentVolume.resource, "v1")
            await eventually("the unused one is gone") { server.revisions("iris").count == 2 && manifests().count == 2 }
            // The Dataset's own objects are as they were.
            #expect(s3.keys("bkt").map(\.description).filter { !$0.hasPrefix(".millrace/") }.count == 6)
        }
    }

    @Test("C11: volumes roll forward, and what their pods may show is kept until they end")
    func pointers() async throws {
        // The API server's clock says when pods were made.
        clock.withLock { $0 = Int(time(nil)) }
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned", "keep": 1])
        try await running { _ in
            await eventually("the first") { current() != nil && server.revisions("iris").first == current() }
            #expect(pointers().count == 1)
            let first = try #require(current())
            server.add(volume: "v1", showing: "newest", of: "iris", claim: "c1")
            server.create(
                Pod.resource,
                [
                    "metadata": ["name": "reader"],
                    "spec": ["volumes": [["name": "d", "persistentVolumeClaim": ["claimName": "c1"]]]],
                ], namespace: "courses")
            for round in 2...4 {
                s3.put("bkt", "data/new\(round)", "x")
                tick(300)
                request("\(round)")
                await eventually("revision \(round) is the newest") {
                    server.revisions("iris").count == round && server.revisions("iris").max() == current()
                }
            }
            // The pod that runs may have each of them: its mount is made at any time from now on.
            #expect(server.revisions("iris").contains(first) && manifests().count == 4)
            server.delete(Pod.resource, "reader", namespace: "courses")
            server.patch(Dataset.resource, "iris", namespace: "courses", ["metadata": ["labels": ["look": "again"]]])
            await eventually("the newest is left") {
                server.revisions("iris") == [current()] && manifests().count == 1
            }
        }
    }

    @Test func aPointerThatCannotBeWrittenIsTold() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"])
        try await running { _ in
            await eventually("ready") { current() != nil }
            let first = current()
            s3.put("bkt", "data/new", "x")
            s3.inject(.status(403, "AccessDenied", on: .put, key: pointers().first, count: -1))
            tick(60)
            request("1")
            await eventually("told") {
                server.phase("iris") == "Failed" && server.message("iris").contains("newest can't be written")
            }
            #expect(current() == first && server.revisions("iris").count == 2)
            s3.clearFaults()
            tick(61)
            server.patch(Dataset.resource, "iris", namespace: "courses", ["metadata": ["labels": ["look": "again"]]])
            await eventually("moved after all") { current() != first && server.phase("iris") == "Ready" }
        }
    }

    @Test func aFailureIsToldAndNothingIsLeft() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"])
        s3.inject(.status(403, "AccessDenied", on: .put, count: -1))
        try await running { _ in
            await eventually("failed") { server.phase("iris") == "Failed" }
            #expect(server.message("iris").contains("can't be written to bucket bkt"))
            #expect(manifests().isEmpty)
            s3.clearFaults()
            tick(61)
            server.patch(Dataset.resource, "iris", namespace: "courses", ["metadata": ["labels": ["x": "y"]]])
            await eventually("made after all") { server.phase("iris") == "Ready" }
        }
    }

    @Test func aMissingSecretIsNamed() async throws {
        server.add(
            dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"], ["spec": ["secretRef": ["name": "nothing"]]])
        try await running { _ in
            await eventually("failed") { server.phase("iris") == "Failed" }
            #expect(server.message("iris").contains("Secret courses/nothing of spec.secretRef isn't there"))
        }
    }

    @Test func anotherBucketMayKeepThem() async throws {
        s3.createBucket("store")
        server.add(
            dataset: "iris", endpoint: s3.endpoint,
            ["policy": "Pinned", "store": ["bucket": "store", "prefix": "kept/"]])
        try await running { _ in
            await eventually("ready") { server.phase("iris") == "Ready" }
            #expect(manifests().isEmpty)
            #expect(s3.keys("store").allSatisfy { $0.description.hasPrefix("kept/.millrace/revisions/") })
            await eventually("the manifest and its pointer") { s3.keys("store").count == 2 }
        }
    }

    @Test("V13: a deleted Dataset takes its manifests along, once no volume shows them") func deletion() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"])
        try await running { _ in
            await eventually("ready") { server.phase("iris") == "Ready" }
            server.add(volume: "v1", showing: server.revisions("iris")[0], of: "iris")
            server.delete(Dataset.resource, "iris", namespace: "courses")
            await eventually("going") { server.dataset("iris")?.at("metadata", "deletionTimestamp") != nil }
            #expect(manifests().count == 1)
            server.delete(PersistentVolume.resource, "v1")
            await eventually("gone") { server.dataset("iris") == nil }
            #expect(manifests().isEmpty && pointers().isEmpty)
        }
    }

    /// Killed between keeping a manifest and recording it: the next attempt finds the orphan.
    @Test func anOrphanIsRemoved() async throws {
        server.add(dataset: "iris", endpoint: s3.endpoint, ["policy": "Pinned"])
        let uid = try #require(server.dataset("iris")?.at("metadata", "uid")?.string)
        s3.put("bkt", ".millrace/revisions/\(uid)/19990101t000000z.manifest", "left over")
        s3.put("bkt", ".millrace/revisions/somebody-else/r.manifest", "not ours")
        try await running { _ in
            await eventually("ready") { server.phase("iris") == "Ready" }
            #expect(manifests().count == 2)
            #expect(manifests().contains(".millrace/revisions/somebody-else/r.manifest"))
        }
    }
}
