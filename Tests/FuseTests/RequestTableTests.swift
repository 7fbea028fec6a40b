import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Fuse

@Suite("The table of requests under way")
struct RequestTableTests {
    /// Messages instead of a connection to the kernel.
    private final class Wire {
        let memory = FileDescriptor(rawValue: clinux_memory_file("requests-test"))
        private var ends: [Int32] = [-1, -1]
        let table: RequestTable
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)

        init() throws {
            try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
            table = try RequestTable(file: memory)
        }
        deinit {
            for end in ends { close(end) }
            try? memory.close()
            buffer.deallocate()
        }

        /// The request as it was received.
        func receive(opcode: UInt32, unique: UInt64, body: [UInt8] = [], lane: Int = 0) -> [UInt8] {
            var bytes = [UInt8](repeating: 7, count: Protocol.inHeaderBytes) + body
            bytes.withUnsafeMutableBytes {
                $0.storeBytes(of: UInt32($0.count), as: UInt32.self)
                $0.storeBytes(of: opcode, toByteOffset: 4, as: UInt32.self)
                $0.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
            }
            #expect(write(ends[0], bytes, bytes.count) == bytes.count)
            let n = table.receive(ends[1], into: buffer, lane: lane)
            #expect(Array(buffer[..<max(n, 0)]) == bytes)
            return bytes
        }
    }

    @Test("a successor finds what was read and not answered")
    func leftOver() throws {
        let wire = try Wire()
        _ = wire.receive(opcode: Protocol.Opcode.read, unique: 2, body: [1, 2, 3])
        _ = wire.receive(opcode: 1, unique: 4 | Protocol.resentBit, lane: 5)
        _ = wire.receive(opcode: 1, unique: 6, lane: 70)
        // Those that nobody waits for.
        _ = wire.receive(opcode: Protocol.Opcode.forget, unique: 8)
        _ = wire.receive(opcode: Protocol.Opcode.forgetMany, unique: 10)
        _ = wire.receive(opcode: Protocol.Opcode.interrupt, unique: 3)
        wire.table.remove(6)
        wire.table.remove(1234)
        let next = try RequestTable(file: wire.memory)
        #expect(next.takeAll() == [2, 4 | Protocol.resentBit])
        #expect(next.takeAll().isEmpty)
    }

    @Test("a request that the process was just reading is found, too")
    func amidst() throws {
        let wire = try Wire()
        // As if it had died between the read and the entry: the header is in its lane.
        let header = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 8)
        defer { header.deallocate() }
        header.storeBytes(of: 42, toByteOffset: 8, as: UInt64.self)
        #expect(pwrite(wire.memory.rawValue, header + 8, 8, 3 * 64 + 8) == 8)
        #expect(try RequestTable(file: wire.memory).takeAll() == [42])
    }

    @Test("more than fit are served all the same")
    func overflow() throws {
        let wire = try Wire()
        for n in 0..<UInt64(RequestTable.slotCount + 10) { _ = wire.receive(opcode: 1, unique: 2 * n + 2) }
        #expect(wire.table.takeAll().count == RequestTable.slotCount)
        _ = wire.receive(opcode: 1, unique: 2)
        #expect(wire.table.takeAll() == [2])
    }
}
