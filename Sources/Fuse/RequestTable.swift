import Glibc
import Synchronization
import SystemPackage

/// The requests that were read and not yet answered, in memory that outlives the engine.
///
/// A kernel before 6.9 can't ask again what a dead engine had read, and its callers would hang for ever. The successor
/// finds those requests here and fails exactly them.
///
/// The memory: `lanes` headers of requests that are just being read, one a worker, so that none is missed between
/// read(2) and its entry; then the slots, each the `unique` of a request or 0.
public final class RequestTable: @unchecked Sendable {
    static let lanes = 64
    private static let laneBytes = 64
    /// The kernel has some hundred in the background and one for each thread that waits in the foreground. With every
    /// slot taken, one more is not recorded.
    static let slotCount = 4096
    private static let byteCount = lanes * laneBytes + slotCount * 8

    private let memory: UnsafeMutableRawPointer
    private let slots: UnsafeMutablePointer<Atomic<UInt64>>

    /// `file`: memory as memfd_create(2) makes it, empty or another engine's table. It isn't needed after this.
    public init(file: FileDescriptor) throws(Errno) {
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
        if status.st_size < Self.byteCount, ftruncate(file.rawValue, off_t(Self.byteCount)) != 0 {
            throw Errno(rawValue: errno)
        }
        guard let memory = mmap(nil, Self.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0),
            memory != MAP_FAILED
        else { throw Errno(rawValue: errno) }
        self.memory = memory
        slots = (memory + Self.lanes * Self.laneBytes).bindMemory(to: Atomic<UInt64>.self, capacity: Self.slotCount)
        // Has its page before a request is read, as a worker's buffer has.
        memory.storeBytes(of: memory.load(as: UInt8.self), as: UInt8.self)
    }

    deinit { munmap(memory, Self.byteCount) }

    /// read(2) of a request, which is in the table when this returns.
    func receive(_ fd: Int32, into buffer: UnsafeMutableRawBufferPointer, lane: Int) -> Int {
        let header = memory + lane % Self.lanes * Self.laneBytes
        let headerBytes = Protocol.inHeaderBytes
        let n = withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { parts in
            parts[0] = iovec(iov_base: header, iov_len: headerBytes)
            parts[1] = iovec(iov_base: buffer.baseAddress! + headerBytes, iov_len: buffer.count - headerBytes)
            return readv(fd, parts.baseAddress!, 2)
        }
        guard n >= headerBytes else { return n }
        buffer.copyMemory(from: UnsafeRawBufferPointer(start: header, count: headerBytes))
        if Protocol.Opcode.isAnswered(header.load(fromByteOffset: 4, as: UInt32.self)) {
            insert(header.load(fromByteOffset: 8, as: UInt64.self))
        }
        header.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        return n
    }

    private func insert(_ unique: UInt64) {
        for step in 0..<Self.slotCount {
            let slot = slots + Self.slot(unique, step)
            if slot.pointee.load(ordering: .relaxed) == 0,
                slot.pointee.compareExchange(expected: 0, desired: unique, ordering: .releasing).exchanged
            {
                return
            }
        }
    }

    /// A request has its answer.
    func remove(_ unique: UInt64) {
        for step in 0..<Self.slotCount {
            let slot = slots + Self.slot(unique, step)
            if slot.pointee.load(ordering: .relaxed) == unique {
                slot.pointee.store(0, ordering: .releasing)
                return
            }
        }
    }

    /// The kernel counts by two, so that neighbours in time are neighbours here, and the first slot nearly always fits.
    private static func slot(_ unique: UInt64, _ step: Int) -> Int {
        Int(truncatingIfNeeded: (unique & ~Protocol.resentBit) >> 1 &+ UInt64(step)) & (slotCount - 1)
    }

    /// Everything in it, which is empty from here on. Call it while nobody serves the connection.
    func takeAll() -> [UInt64] {
        var found: [UInt64] = []
        for lane in 0..<Self.lanes {
            let header = memory + lane * Self.laneBytes
            found.append(header.load(fromByteOffset: 8, as: UInt64.self))
            header.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        }
        for i in 0..<Self.slotCount { found.append(slots[i].exchange(0, ordering: .acquiringAndReleasing)) }
        return Array(Set(found.filter { $0 != 0 })).sorted()
    }
}
