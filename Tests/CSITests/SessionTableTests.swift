import NodeProtocol
import Testing

@testable import CSI

@Suite struct SessionTableTests {
    static func session(_ id: String, scope: String = "k1", minor: UInt32 = 1) -> SessionTable.Session {
        SessionTable.Session(
            id: id, spec: SessionSpec(bucket: "b", scope: scope), device: Device(major: 0, minor: minor),
            connection: minor)
    }

    static func table(_ volumes: [(volume: String, target: String)]) -> SessionTable {
        var table = SessionTable()
        table.add(session("s"))
        for (volume, target) in volumes {
            table.publish(Publication(volumeID: volume, target: target, sessionID: "s", scope: "k1"))
        }
        return table
    }

    @Test func aSessionIsFoundByItsViewAndScope() {
        let table = Self.table([])
        #expect(table.session(for: SessionSpec(bucket: "b", scope: "k1"))?.id == "s")
        #expect(table.session(for: SessionSpec(bucket: "b", scope: "k2")) == nil)
        #expect(table.session(for: SessionSpec(bucket: "b", prefix: "p/", scope: "k1")) == nil)
    }

    @Test func targetsAreCounted() {
        var table = Self.table([("a", "/1"), ("b", "/2")])
        table.publish(Publication(volumeID: "a", target: "/1", sessionID: "s", scope: "k1"))
        #expect(table.sessions["s"]?.targets == ["/1", "/2"])
        table.unpublish("/1")
        table.unpublish("/1")
        #expect(table.sessions["s"]?.targets == ["/2"])
    }

    @Test func aLoneVolumeRotatesAtOnce() {
        var table = Self.table([("a", "/1")])
        #expect(table.present("k1", for: "/1") == .current)
        #expect(table.present("k2", for: "/1") == .all)
        table.rotated("s", to: "k2")
        #expect(table.session(for: SessionSpec(bucket: "b", scope: "k2"))?.id == "s")
        #expect(table.present("k2", for: "/1") == .current)
    }

    @Test func podsOfOneVolumeRotateTogether() {
        var table = Self.table([("a", "/1"), ("a", "/2")])
        #expect(table.present("k2", for: "/1") == .all)
    }

    @Test func volumesWaitForEachOther() {
        var table = Self.table([("a", "/1"), ("b", "/2"), ("c", "/3")])
        #expect(table.present("k2", for: "/1") == .waiting(others: 2))
        #expect(table.present("k2", for: "/2") == .waiting(others: 1))
        // Who still comes with the old ones changes nothing.
        #expect(table.present("k1", for: "/3") == .current)
        #expect(table.present("k2", for: "/1") == .waiting(others: 1))
        #expect(table.present("k2", for: "/3") == .all)
    }

    @Test func oneThatLeavesHoldsUpNobody() {
        var table = Self.table([("a", "/1"), ("b", "/2")])
        #expect(table.present("k2", for: "/1") == .waiting(others: 1))
        table.unpublish("/2")
        #expect(table.present("k2", for: "/1") == .all)
    }

    /// Whatever order calls come in, a session's scope is one that all its volumes have presented.
    @Test(arguments: 0..<50)
    func noVolumeReadsWithAnothersRights(seed: Int) {
        var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
        func next(_ n: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(n))
        }
        let targets = ["/0", "/1", "/2", "/3"]
        let volumes = ["a", "a", "b", "c"]
        var table = Self.table(zip(volumes, targets).map { ($0, $1) })
        var presented: [String: Set<String>] = Dictionary(uniqueKeysWithValues: Set(volumes).map { ($0, ["k1"]) })
        for _ in 0..<200 {
            let target = next(4)
            let scope = "k\(1 + next(3))"
            presented[volumes[target], default: []].insert(scope)
            if case .all = table.present(scope, for: targets[target]) { table.rotated("s", to: scope) }
            let now = table.sessions["s"]!.spec.scope
            #expect(presented.values.allSatisfy { $0.contains(now) })
        }
    }
}
