import CLinux
import Glibc
import Logging
import Namespace
import S3
import SystemPackage
import Testing

@testable import Mount

/// Records that an engine of version 0.1.0 had written: today's reads them, and writes the same, so that this version's
/// sessions can be taken back by that one.
@Suite("The journal's format")
struct JournalFormatTests {
    private static let written = [
        "0104000000aabbccdd",
        "0222880b499a0f62970100000000000000010100000061000000000000000000000000000000000000000001",
        "0322880b499a0f6297",
        "06000000000000000022880b499a0f62970800000000000000",
        "070000000000000000",
        "0261f868bc733520f20100000000000000000300000074776f64000000000000003df3016b00000000200000003436373364"
            + "37323163396232303031633661613665306537373661666133633101",
        "04000000000000000061f868bc733520f2120000000000000000000000070000007365742f74776f20000000343637336437"
            + "32316339623230303163366161366530653737366166613363310000000000640000000000000001",
        "050000000000000000",
    ].map(bytes)
    private static let etag = "4673d721c9b2001c6aa6e0e776afa3c1"
    private static let directory: UInt64 = 0x9762_0f9a_490b_8822
    private static let file: UInt64 = 0xf220_3573_bc68_f861
    private static let records: [JournalRecord] = [
        .initialized([0xaa, 0xbb, 0xcc, 0xdd]),
        .inode(
            InodeRecord(
                inode: directory, parent: 1, isDirectory: true, name: [0x61], size: 0, modified: 0, etag: "",
                isReadable: true)),
        .forgotInode(directory),
        .directory(.init(handle: 0, inode: directory, unique: 8)),
        .closedDirectory(0),
        .inode(
            InodeRecord(
                inode: file, parent: 1, isDirectory: false, name: Array("two".utf8), size: 100,
                modified: 0x6b01_f33d, etag: etag, isReadable: true)),
        .file(
            .init(
                handle: 0, inode: file, unique: 18, backing: 0,
                version: FileVersion(
                    key: ObjectKey("set/two"), etag: etag, versionID: nil, size: 100, isReadable: true))),
        .closedFile(0),
    ]

    private static func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private static func record(_ bytes: [UInt8]) -> JournalRecord? { bytes.withUnsafeBytes { JournalRecord($0) } }

    @Test func everyKindIsReadAndWrittenAsEver() {
        for (bytes, record) in zip(Self.written, Self.records) {
            #expect(Self.record(bytes) == record)
            #expect(record.encoded == bytes)
        }
    }

    @Test func whatALaterVersionAddsToARecordIsSkipped() {
        for (bytes, record) in zip(Self.written, Self.records) {
            #expect(Self.record(bytes + [1, 2, 3, 4, 5, 6, 7, 8, 9]) == record)
        }
        #expect(Self.record([200, 1, 2, 3]) == nil)
    }

    @Test func everyTruncationOfARecordIsNone() {
        for bytes in Self.written {
            for count in 0..<bytes.count { #expect(Self.record(Array(bytes.prefix(count))) == nil) }
        }
    }

    /// The file as a whole: magic, start, and records with their length and a checksum of place and bytes.
    @Test func aLogOfThatVersionIsTakenOver() throws {
        var log = [UInt8](repeating: 0, count: 4096)
        log.replaceSubrange(0..<16, with: Array("MILLJNL1".utf8) + [0, 16, 0, 0, 0, 0, 0, 0])
        let alive = Self.written.filter { ![3, 5, 7].contains($0[0]) }
        for record in alive {
            var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(log.count)
            for byte in record { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            for word in [UInt32(record.count), UInt32(truncatingIfNeeded: hash ^ hash >> 32)] {
                withUnsafeBytes(of: word.littleEndian) { log.append(contentsOf: $0) }
            }
            log += record
        }
        let memory = FileDescriptor(rawValue: clinux_memory_file("journal-format"))
        defer { try? memory.close() }
        #expect(pwrite(memory.rawValue, log, log.count, 0) == log.count)
        let state = try SessionJournal(descriptor: memory, logger: Logger(label: "test")).inherited
        #expect(state.initRequest == [0xaa, 0xbb, 0xcc, 0xdd])
        #expect(Set(state.inodes.keys) == [Self.directory, Self.file])
        #expect(state.files[0]?.version.etag == Self.etag && state.directories[0]?.inode == Self.directory)
    }
}
