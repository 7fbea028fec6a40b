import Glibc
import Testing

@testable import Fuse

@Suite("Formats of the kernel")
struct FormatTests {
    private func request(flags: UInt64, minor: UInt32 = 45, length: Int = 104) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: length)
        bytes.withUnsafeMutableBytes { out in
            out.storeBytes(of: UInt32(length), as: UInt32.self)
            out.storeBytes(of: 26, toByteOffset: 4, as: UInt32.self)
            out.storeBytes(of: 2, toByteOffset: 8, as: UInt64.self)
            out.storeBytes(of: 7, toByteOffset: 40, as: UInt32.self)
            out.storeBytes(of: minor, toByteOffset: 44, as: UInt32.self)
            out.storeBytes(of: 131_072, toByteOffset: 48, as: UInt32.self)
            out.storeBytes(of: UInt32(truncatingIfNeeded: flags), toByteOffset: 52, as: UInt32.self)
            if length >= 60 { out.storeBytes(of: UInt32(flags >> 32), toByteOffset: 56, as: UInt32.self) }
        }
        return bytes
    }

    @Test("only FUSE_INIT is taken for it")
    func notInit() {
        let good = request(flags: 1)
        #expect(InitExchange(request: good) != nil)
        for n in 0..<56 { #expect(InitExchange(request: good.prefix(n)) == nil) }
        for (offset, value) in [(0, 7), (4, 15), (40, 8)] as [(Int, UInt8)] {
            var bad = good
            bad[offset] = value
            #expect(InitExchange(request: bad) == nil)
        }
    }

    @Test("an answer takes what was offered and no more")
    func answer() throws {
        let everything = try #require(InitExchange(request: request(flags: .max)))
        let full = everything.answer(passthrough: true)
        #expect(full.count == 80)
        #expect(everything.accepted(passthrough: true).contains(.passthrough))
        #expect(!everything.accepted(passthrough: false).contains(.passthrough))
        #expect(full.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 52, as: UInt32.self) } == 1)
        #expect(full.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 20, as: UInt32.self) } == 40)

        // A kernel before 5.17 sends one word of flags; what lies behind it is no flag.
        let old = try #require(InitExchange(request: request(flags: 1 << 13, minor: 31, length: 56)))
        #expect(old.offered.rawValue == 1 << 13)
        #expect(old.accepted(passthrough: true) == .readdirplus)
        let answer = old.answer(passthrough: true)
        #expect(answer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 20, as: UInt32.self) } == 31)
        #expect(answer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 52, as: UInt32.self) } == 0)
    }

    @Test("mountinfo is parsed with its escapes and optional fields")
    func mountTable() {
        let text = #"""
            36 35 0:48 / /mnt/a\040b\134c rw,noatime shared:1 master:2 - fuse.millrace s3://b/\011x ro,user_id=0
            37 35 98:0 /sub /mnt ro - ext4 /dev/sda rw
            half a line
            """#
        let entries = MountTable.parse(Array(text.utf8))
        #expect(entries.count == 2)
        #expect(entries[0].mountPoint == #"/mnt/a b\c"# && entries[0].type == Mounter.type)
        #expect(
            entries[0].source == "s3://b/\tx" && entries[0].connection == 48
                && entries[0].superOptions == "ro,user_id=0")
        #expect(entries[1].major == 98 && entries[1].type == "ext4")
    }

    @Test("a directory's buffer takes what fits, to the byte")
    func directoryBuffer() {
        let attributes = FileAttributes(inode: 9, mode: S_IFREG | 0o444, size: 1, modified: 0, uid: 0, gid: 0)
        func add(_ buffer: DirectoryBuffer, _ name: String) -> Bool {
            Array(name.utf8).withUnsafeBytes {
                buffer.add(name: $0, attributes, Validity(entryMs: .max, attributesMs: 1500), nextCookie: 5)
            }
        }
        for plus in [false, true] {
            // 24 bytes and the name, in eights; 128 more with attributes.
            let one = 32 + (plus ? 128 : 0)
            #expect(!add(DirectoryBuffer(count: one - 1, plus: plus), "12345678"))
            let buffer = DirectoryBuffer(count: one * 2, plus: plus)
            #expect(add(buffer, "12345678") && add(buffer, "a"))
            #expect(!add(buffer, "b"))
            #expect(buffer.bytes.count == one * 2)
            #expect(buffer.bytes.suffix(8).elementsEqual([0x61, 0, 0, 0, 0, 0, 0, 0]))
        }
    }
}
