import CLinux
import Glibc
import Logging
import Namespace
import S3
import SystemPackage
import TestSupport
import Testing

@testable import Mount

@Suite("A session's journal")
struct SessionJournalTests {
    private let logger = Logger(label: "test")

    /// Memory that lives as long as this.
    private final class Memory {
        let descriptor: FileDescriptor
        init() { descriptor = FileDescriptor(rawValue: clinux_memory_file("journal-test")) }
        init(_ bytes: [UInt8]) {
            descriptor = FileDescriptor(rawValue: clinux_memory_file("journal-test"))
            _ = write(descriptor.rawValue, bytes, bytes.count)
        }
        deinit { try? descriptor.close() }

        var bytes: [UInt8] {
            var status = stat()
            fstat(descriptor.rawValue, &status)
            var out = [UInt8](repeating: 0, count: Int(status.st_size))
            _ = pread(descriptor.rawValue, &out, out.count, 0)
            return out
        }
        /// Bytes that are really there: holes don't count.
        var held: Int {
            var status = stat()
            fstat(descriptor.rawValue, &status)
            return Int(status.st_blocks) * 512
        }
    }

    private func record(_ numbers: inout Seeded) -> JournalRecord {
        let n = UInt64.random(in: 0..<200, using: &numbers)
        switch Int.random(in: 0..<10, using: &numbers) {
        case 0..<4:
            return .inode(
                InodeRecord(
                    inode: n, parent: n / 7, isDirectory: n % 3 == 0,
                    name: (0..<Int.random(in: 0..<300, using: &numbers)).map { UInt8(truncatingIfNeeded: $0) },
                    size: n << 40, modified: Int64(n), etag: "etag\(n)", isReadable: n % 2 == 0))
        case 4: return .forgotInode(n)
        case 5:
            return .file(
                .init(
                    handle: n, inode: n, unique: n * 3, backing: Int32(n % 5),
                    version: FileVersion(
                        key: ObjectKey([0xff, 0x00, 0x0a]), etag: "e\(n)", versionID: n % 2 == 0 ? nil : "v\(n)",
                        size: n << 30, isReadable: n % 9 != 0)))
        case 6: return .closedFile(n)
        case 7: return .directory(.init(handle: n, inode: n, unique: n))
        default: return .closedDirectory(n)
        }
    }

    @Test("a successor reads what was written", arguments: [1, 2, 3] as [UInt64])
    func roundTrip(seed: UInt64) throws {
        var numbers = Seeded(seed)
        let memory = Memory()
        let journal = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        #expect(journal.isEmpty)
        var state = JournalState()
        let records = [.initialized([1, 2, 3])] + (0..<500).map { _ in record(&numbers) }
        for record in records {
            journal.append(record)
            state.apply(record)
        }
        let successor = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        #expect(!successor.isEmpty)
        let same = successor.inherited == state
        #expect(same)
        // It goes on where the first one ended.
        successor.append(.forgotInode(3))
        state.apply(.forgotInode(3))
        let third = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        let isContinued = third.inherited == state
        #expect(isContinued)
    }

    @Test("killed at any byte, a writer leaves all records but the last")
    func torn() throws {
        var numbers = Seeded(4)
        let memory = Memory()
        let journal = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        var states: [(end: Int, state: JournalState)] = [(memory.bytes.count, JournalState())]
        for _ in 0..<20 {
            let record = record(&numbers)
            journal.append(record)
            var state = states.last!.state
            state.apply(record)
            states.append((memory.bytes.count, state))
        }
        let whole = memory.bytes
        for cut in 4096...whole.count {
            let expected = states.last { $0.end <= max(cut, states[0].end) }!.state
            // The rest missing, and the rest being what an earlier log had left there.
            for tail in [[], [UInt8](repeating: 0xa5, count: 64)] {
                let torn = Memory(Array(whole[..<cut]) + (cut < whole.count ? tail : []))
                let read = try SessionJournal(descriptor: torn.descriptor, logger: logger).inherited
                let same = read == expected
                #expect(same, "cut at \(cut)")
            }
        }
    }

    @Test("a long journal is rewritten: it holds what counts, in little memory")
    func compaction() throws {
        var numbers = Seeded(5)
        let memory = Memory()
        let journal = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        var state = JournalState()
        var written = 0
        for _ in 0..<60_000 {
            let record = record(&numbers)
            journal.append(record)
            state.apply(record)
            written += record.encoded.count
        }
        #expect(written > 4 << 20)
        #expect(journal.logBytes < 2 << 20)
        #expect(memory.held < 2 << 20)
        let read = try SessionJournal(descriptor: memory.descriptor, logger: logger).inherited
        let same = read == state
        #expect(same)
    }

    @Test("killed while it rewrites itself, a journal says the same")
    func killedWhileRewriting() throws {
        // A log that is followed by a part of its own summary, and the beginning not yet moved.
        let memory = Memory()
        let journal = try SessionJournal(descriptor: memory.descriptor, logger: logger)
        var numbers = Seeded(6)
        var state = JournalState()
        for _ in 0..<200 {
            let record = record(&numbers)
            journal.append(record)
            state.apply(record)
        }
        var summary: [JournalRecord] = []
        state.visitRecords { summary.append($0) }
        for count in [0, 1, summary.count / 2, summary.count] {
            let copy = Memory(memory.bytes)
            let half = try SessionJournal(descriptor: copy.descriptor, logger: logger)
            for record in summary.prefix(count) { half.append(record) }
            let read = try SessionJournal(descriptor: copy.descriptor, logger: logger).inherited
            let same = read == state
            #expect(same, "\(count) records")
        }
    }

    @Test("what is no journal is refused")
    func foreign() {
        for bytes in [[1], Array(repeating: 0, count: 5000), Array("MILLJNL9".utf8) + Array(repeating: 0, count: 5000)]
        {
            let memory = Memory(bytes.map { UInt8($0) })
            #expect(throws: Errno.self) { try SessionJournal(descriptor: memory.descriptor, logger: logger) }
        }
    }

    @Test("a record's bytes, cut short or random, are no record or a record, and never a crash")
    func garbage() {
        var numbers = Seeded(7)
        for _ in 0..<2000 {
            let record = record(&numbers)
            let bytes = record.encoded
            #expect(bytes.withUnsafeBytes { JournalRecord($0) } == record)
            let cut = Int.random(in: 0..<bytes.count, using: &numbers)
            #expect(bytes[..<cut].withUnsafeBytes { JournalRecord($0) } == nil)
            var noise = bytes
            noise[Int.random(in: 0..<bytes.count, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
            _ = noise.withUnsafeBytes { JournalRecord($0) }
        }
    }
}
