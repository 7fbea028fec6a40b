import Synchronization
import Threads

/// What the kernel's file handles stand for. Taking and giving back a handle takes a lock; finding one, which every
/// READ does, takes none: the kernel uses a handle only between its open and its release.
final class HandleTable<Value: AnyObject & Sendable>: @unchecked Sendable {
    /// Segment n has 64 << n slots and never moves.
    private static var firstSegment: Int { 64 }
    private static var segmentCount: Int { 26 }

    private typealias Slot = Unmanaged<Value>?
    private let segments: UnsafeMutablePointer<Atomic<UnsafeMutableRawPointer?>>
    /// The handles that are free, and the first that never was used.
    private let free = Locked<(reusable: [UInt64], next: UInt64)>(([], 0))

    init() {
        segments = .allocate(capacity: Self.segmentCount)
        for i in 0..<Self.segmentCount { (segments + i).initialize(to: Atomic(nil)) }
    }

    deinit {
        for i in 0..<Self.segmentCount {
            guard let memory = segments[i].load(ordering: .acquiring) else { continue }
            let slots = memory.assumingMemoryBound(to: Slot.self)
            for n in 0..<(Self.firstSegment << i) { slots[n]?.release() }
            memory.deallocate()
        }
        segments.deinitialize(count: Self.segmentCount)
        segments.deallocate()
    }

    /// The handle's value; nil where it isn't open.
    subscript(handle: UInt64) -> Value? { slot(handle)?.pointee?._withUnsafeGuaranteedRef { $0 } }

    /// A handle for `value`, until `remove`.
    func insert(_ value: Value) -> UInt64 {
        free.withLock { free in
            let handle: UInt64
            if let reusable = free.reusable.popLast() {
                handle = reusable
            } else {
                handle = free.next
                free.next += 1
            }
            reserve(handle).pointee = Unmanaged.passRetained(value)
            return handle
        }
    }

    /// A handle that the kernel has from an engine before. Call it before any `insert`.
    func restore(_ value: Value, as handle: UInt64) {
        // A handle that no engine gave out has no place here.
        guard handle < UInt64(Self.firstSegment << (Self.segmentCount - 1)) else { return }
        free.withLock { free in
            if handle >= free.next {
                free.reusable += free.next..<handle
                free.next = handle + 1
            } else {
                free.reusable.removeAll { $0 == handle }
            }
            let slot = reserve(handle)
            slot.pointee?.release()
            slot.pointee = Unmanaged.passRetained(value)
        }
    }

    func remove(_ handle: UInt64) -> Value? {
        free.withLock { free in
            guard let slot = slot(handle), let value = slot.pointee else { return nil }
            slot.pointee = nil
            free.reusable.append(handle)
            return value.takeRetainedValue()
        }
    }

    /// Everything that is open. Under the lock, as what others give back meanwhile would be gone.
    var all: [(handle: UInt64, value: Value)] {
        free.withLock { free in (0..<free.next).compactMap { handle in self[handle].map { (handle, $0) } } }
    }

    private func place(_ handle: UInt64) -> (segment: Int, index: Int) {
        let shifted = handle / UInt64(Self.firstSegment) + 1
        let segment = UInt64.bitWidth - 1 - shifted.leadingZeroBitCount
        let first = UInt64(Self.firstSegment) * ((1 << UInt64(segment)) - 1)
        return (segment, Int(handle - first))
    }

    private func slot(_ handle: UInt64) -> UnsafeMutablePointer<Slot>? {
        guard handle < UInt64(Self.firstSegment << (Self.segmentCount - 1)) else { return nil }
        let (segment, index) = place(handle)
        return segments[segment].load(ordering: .acquiring).map { $0.assumingMemoryBound(to: Slot.self) + index }
    }

    /// Under the lock.
    private func reserve(_ handle: UInt64) -> UnsafeMutablePointer<Slot> {
        if let slot = slot(handle) { return slot }
        let (segment, _) = place(handle)
        let count = Self.firstSegment << segment
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        slots.initialize(repeating: nil, count: count)
        segments[segment].store(UnsafeMutableRawPointer(slots), ordering: .releasing)
        return slot(handle)!
    }
}
