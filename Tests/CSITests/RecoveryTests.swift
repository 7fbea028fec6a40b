import Glibc
import Logging
import NodeProtocol
import Testing

@testable import CSI

@Suite struct RecoveryTests {
    static func mount(_ point: String, minor: UInt32, fileSystem: String = Place.fileSystem) -> MountInfo {
        MountInfo(line: "99 1 0:\(minor) / \(point) ro - \(fileSystem) millrace ro")!
    }
    static func report(_ id: String, minor: UInt32, failure: String? = nil) -> SessionReport {
        SessionReport(id: id, spec: SessionSpec(bucket: id, scope: "k"), connection: minor, failure: failure)
    }
    static func publication(_ volume: String, _ target: String, _ session: String = "s1") -> Publication {
        Publication(volumeID: volume, target: target, sessionID: session, scope: "k")
    }

    @Test func whatIsLiveGoesOn() {
        let recovery = Recovery(
            publications: [Self.publication("v", "/pod")], served: [Self.report("s1", minor: 7)],
            mounts: [Self.mount("/state/s1", minor: 7), Self.mount("/pod", minor: 7)], sessionsDirectory: "/state")
        #expect(recovery.table.sessions["s1"]?.targets == ["/pod"])
        #expect(recovery.table.publications["/pod"]?.volumeID == "v")
        #expect(recovery.staleMounts.isEmpty && recovery.unmounted.isEmpty && recovery.stalePublications.isEmpty)
    }

    @Test func aLostJournalIsMadeUpForByTheKernel() {
        let recovery = Recovery(
            publications: [], served: [Self.report("s1", minor: 7)],
            mounts: [Self.mount("/state/s1", minor: 7), Self.mount("/pod", minor: 7), Self.mount("/x", minor: 8)],
            sessionsDirectory: "/state")
        let adopted = recovery.table.publications["/pod"]
        #expect(adopted?.sessionID == "s1")
        #expect(adopted?.volumeID == nil)
        #expect(recovery.table.publications["/x"] == nil)
    }

    @Test func aCrashBeforeTheBindLeavesAStalePublication() {
        let recovery = Recovery(
            publications: [Self.publication("v", "/pod")], served: [Self.report("s1", minor: 7)],
            mounts: [Self.mount("/state/s1", minor: 7)], sessionsDirectory: "/state")
        #expect(recovery.stalePublications == ["/pod"])
        #expect(recovery.table.sessions["s1"]?.targets.isEmpty == true)
    }

    @Test func sessionsWithoutAnEngineOrAMountAreGivenUp() {
        let recovery = Recovery(
            publications: [Self.publication("v", "/pod")],
            served: [Self.report("s2", minor: 8), Self.report("s3", minor: 9, failure: "aborted")],
            mounts: [
                Self.mount("/state/s1", minor: 7), Self.mount("/pod", minor: 7), Self.mount("/state/s3", minor: 9),
            ], sessionsDirectory: "/state")
        #expect(recovery.staleMounts == ["s1", "s3"])
        #expect(recovery.unmounted == ["s2", "s3"])
        #expect(recovery.deadTargets == ["/pod"])
        #expect(recovery.table.sessions.isEmpty)
        // Still known, so that it can be unpublished by its volume.
        #expect(recovery.table.publications["/pod"]?.volumeID == "v")
    }

    @Test func aDeviceNumberThatWasReusedIsNotTheSession() {
        let recovery = Recovery(
            publications: [Self.publication("v", "/pod")], served: [Self.report("s1", minor: 7)],
            mounts: [Self.mount("/state/s1", minor: 12), Self.mount("/pod", minor: 12)], sessionsDirectory: "/state")
        #expect(recovery.table.sessions.isEmpty)
        #expect(recovery.unmounted == ["s1"] && recovery.staleMounts == ["s1"] && recovery.deadTargets == ["/pod"])
    }

    @Test func theTopOfAStackCounts() {
        let recovery = Recovery(
            publications: [Self.publication("v", "/pod")], served: [Self.report("s1", minor: 7)],
            mounts: [Self.mount("/state/s1", minor: 7), Self.mount("/pod", minor: 3), Self.mount("/pod", minor: 7)],
            sessionsDirectory: "/state")
        #expect(recovery.table.sessions["s1"]?.targets == ["/pod"])
    }

    @Test func mountInfoIsReadWithItsEscapes() throws {
        let line = #"36 35 0:44 / /mnt/a\040b\134c rw,noatime master:1 shared:2 - fuse.millrace s3\072 ro,user_id=0"#
        let mount = try #require(MountInfo(line: line))
        #expect(mount.mountPoint == #"/mnt/a b\c"# && mount.minor == 44 && mount.fileSystem == "fuse.millrace")
        #expect(mount.source == "s3:")
        for cut in 0..<line.utf8.count where MountInfo(line: String(line.prefix(cut))) != nil {
            #expect(line.prefix(cut).contains(" - fuse"))
        }
        #expect(try MountInfo.all().contains { $0.mountPoint == "/" })
    }

    @Test func aDamagedJournalIsDroppedFileByFile() throws {
        var template = Array("/tmp/node-journal-XXXXXX".utf8CString)
        let directory = String(cString: try #require(mkdtemp(&template)))
        let journal = PublicationJournal(directory: directory, logger: Logger(label: "test"))
        let good = (0..<4).map { Self.publication("v\($0)", "/pod/\($0)") }
        for publication in good { try journal.write(publication) }
        #expect(Set(journal.read().map(\.target)) == Set(good.map(\.target)))

        let files = try #require(opendir(directory))
        var names: [String] = []
        while let entry = readdir(files) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(directory + "/" + name) }
        }
        closedir(files)
        truncate(names[0], 20)
        let flipped = open(names[1], O_RDWR)
        pwrite(flipped, "x", 1, 40)
        close(flipped)
        rename(names[2], directory + "/another.target")
        let garbage = open(directory + "/half.target.new", O_CREAT | O_WRONLY, 0o600)
        close(garbage)
        #expect(journal.read().count == 1)
        // What was damaged is gone, what was not stays.
        #expect(journal.read().count == 1)
        journal.remove(try #require(journal.read().first).target)
        #expect(journal.read().isEmpty)
        #expect(rmdir(directory) == 0)
    }

    @Test func oneOperationAtATimePerVolumeAndTarget() throws {
        let inFlight = InFlight()
        try inFlight.hold(volumeID: "v", target: "/t") { () throws(Refusal) in
            for (volume, target) in [("v", "/other"), ("other", "/t")] {
                do throws(Refusal) {
                    try inFlight.hold(volumeID: volume, target: target) { () throws(Refusal) in }
                    Issue.record("a second operation on \(volume) \(target) went through")
                } catch {
                    #expect(error.code == .aborted)
                }
            }
            try inFlight.hold(volumeID: "w", target: "/u") { () throws(Refusal) in }
        }
        try inFlight.hold(volumeID: "v", target: "/t") { () throws(Refusal) in }
    }
}
