import Threads

/// The threads that read from the disk: what somebody waits for first, then verification of whole files.
final class DiskReaders: @unchecked Sendable {
    struct Read: @unchecked Sendable {
        let entry: DiskEntry
        let blocks: Range<Int>
        let buffer: UnsafeMutableRawBufferPointer
        let done: @Sendable (Bool) -> Void
    }

    private let lock = Lock()
    private let filled: Condition
    private var reads = FIFO<Read>()
    private var checks = FIFO<DiskEntry>()
    private var isClosed = false
    private var threads: [Thread] = []

    init(count: Int) {
        filled = Condition(lock)
        threads = (0..<count).map { i in Thread("disk-read-\(i)") { [self] in run() } }
    }

    func submit(_ read: Read) {
        let isClosed = lock.withLock {
            if !self.isClosed {
                reads.append(read)
                filled.signal()
            }
            return self.isClosed
        }
        if isClosed { read.done(false) }
    }

    /// Verifies the entry's blocks step by step, whenever nobody waits for a read. False: closed.
    func verify(_ entry: DiskEntry) -> Bool {
        lock.withLock {
            if isClosed { return false }
            checks.append(entry)
            filled.signal()
            return true
        }
    }

    /// Answers what waits with false and joins the threads.
    func close() {
        var (unread, unchecked) = lock.withLock {
            isClosed = true
            defer {
                reads = FIFO()
                checks = FIFO()
            }
            filled.broadcast()
            return (reads, checks)
        }
        for thread in threads { thread.join() }
        while let read = unread.popFirst() { read.done(false) }
        while let entry = unchecked.popFirst() { entry.stopVerifying() }
    }

    private enum Job {
        case read(Read)
        case check(DiskEntry)
    }

    private func next() -> Job? {
        lock.withLock {
            while !isClosed {
                if let read = reads.popFirst() { return .read(read) }
                if let entry = checks.popFirst() { return .check(entry) }
                _ = filled.wait()
            }
            return nil
        }
    }

    private func run() {
        while let job = next() {
            switch job {
            case .read(let read): read.done(read.entry.readNow(read.blocks, into: read.buffer, isReady: false) ?? false)
            case .check(let entry):
                // One step, then it queues again: reads go between.
                if !entry.verifyStep() || !verify(entry) { entry.stopVerifying() }
            }
        }
    }
}
