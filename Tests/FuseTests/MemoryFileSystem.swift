import Fuse
import Glibc
import Synchronization
import SystemPackage
import Threads

/// A file system of a few files and one huge directory, whose reads can be held back.
final class MemoryFileSystem: Operations {
    enum Inode {
        static let root: UInt64 = 1
        static let hello: UInt64 = 2
        static let big: UInt64 = 3
        static let crowd: UInt64 = 4
        static let slow: UInt64 = 5
        static let dropped: UInt64 = 6
        static let backed: UInt64 = 7
        /// The first of the crowd's files.
        static let first: UInt64 = 1000
    }
    struct Node {
        var name: String
        var inode: UInt64
        var size: UInt64
        var isDirectory = false
    }

    static let nodes = [
        Node(name: "hello", inode: Inode.hello, size: 5), Node(name: "big", inode: Inode.big, size: 8 << 20 | 77),
        Node(name: "crowd", inode: Inode.crowd, size: 0, isDirectory: true),
        Node(name: "slow", inode: Inode.slow, size: 4096), Node(name: "dropped", inode: Inode.dropped, size: 4096),
        Node(name: "backed", inode: Inode.backed, size: 1 << 20),
    ]

    struct Seen {
        var lookups: [UInt64: Int] = [:]
        var forgotten: [UInt64: Int] = [:]
        var reads = 0
        var largestRead = 0
        var opened = 0
        var released = 0
        var lookupRequests = 0
        var resentReads = 0
        var ending: Session.Ending?
        var answers: [Operation: Int] = [:]
    }
    let seen = Locked(Seen())
    /// Reads of "slow", until a test lets them go.
    let held = Locked<[ReadRequest]>([])
    /// Lookups of "waited-for", which is never there.
    let heldLookups = Locked<[ParkedRequest]>([])
    let crowdSize: Int
    /// Makes opens of "backed" passthrough.
    let backing = Locked<Int32?>(nil)

    init(crowdSize: Int = 1000) { self.crowdSize = crowdSize }

    /// Whether a read came in another object than the first one's, which is not kept alive.
    struct FirstRead {
        weak var object: ReadRequest?
        var isSet = false
        var hasChanged = false
    }
    let firstRead = Locked(FirstRead())

    private let content = Pattern()

    func attributes(of inode: UInt64) -> FileAttributes? {
        if inode == Inode.root { return directory(inode) }
        if let node = Self.nodes.first(where: { $0.inode == inode }) {
            return node.isDirectory ? directory(inode) : file(inode, node.size)
        }
        if inode >= Inode.first && inode < Inode.first + UInt64(crowdSize) { return file(inode, inode) }
        return nil
    }
    private func directory(_ inode: UInt64) -> FileAttributes {
        FileAttributes(inode: inode, mode: S_IFDIR | 0o555, size: 0, modified: 1_700_000_000, uid: 11, gid: 22)
    }
    private func file(_ inode: UInt64, _ size: UInt64) -> FileAttributes {
        FileAttributes(inode: inode, mode: S_IFREG | 0o444, size: size, modified: 1_700_000_000, uid: 11, gid: 22)
    }
    static let hour = Validity(entryMs: 3_600_000, attributesMs: 3_600_000)

    private func child(_ name: String, of parent: UInt64) -> FileAttributes? {
        if parent == Inode.root { return Self.nodes.first { $0.name == name }.flatMap { attributes(of: $0.inode) } }
        guard parent == Inode.crowd, name.hasPrefix("file-"), let n = UInt64(name.dropFirst(5)) else { return nil }
        return attributes(of: Inode.first + n)
    }

    func lookup(_ request: consuming Request, name: UnsafeRawBufferPointer) {
        seen.withLock { $0.lookupRequests += 1 }
        if name.elementsEqual("waited-for".utf8) {
            let parked = request.park()
            heldLookups.withLock { $0.append(parked) }
            return
        }
        guard let found = child(String(decoding: name, as: UTF8.self), of: request.inode) else {
            request.reply(noEntryForMs: 1000)
            return
        }
        seen.withLock { $0.lookups[found.inode, default: 0] += 1 }
        request.reply(entry: found, Self.hour)
    }

    func forget(inode: UInt64, lookups: UInt64) {
        seen.withLock { $0.forgotten[inode, default: 0] += Int(lookups) }
    }

    func attributes(_ request: consuming Request, handle: UInt64?) {
        if let found = attributes(of: request.inode) {
            request.reply(attributes: found, forMs: 3_600_000)
        } else {
            request.fail(.noSuchFileOrDirectory)
        }
    }

    func open(_ request: consuming Request, flags: Int32) {
        let opened = seen.withLock { seen in
            seen.opened += 1
            return seen.opened
        }
        if request.inode == Inode.backed, let id = backing.withLock({ $0 }) {
            request.reply(open: OpenReply(handle: UInt64(opened), mode: .passthrough(id)))
        } else {
            request.reply(open: OpenReply(handle: UInt64(opened), mode: .cached(keep: false)))
        }
    }

    func read(_ read: ReadRequest) {
        seen.withLock { seen in
            seen.reads += 1
            seen.largestRead = max(seen.largestRead, read.count)
            if read.isResent { seen.resentReads += 1 }
        }
        firstRead.withLock { first in
            if first.isSet {
                first.hasChanged = first.hasChanged || first.object !== read
            } else {
                first = FirstRead(object: read, isSet: true)
            }
        }
        switch read.inode {
        case Inode.slow: held.withLock { $0.append(read) }
        case Inode.dropped: break
        default: answer(read)
        }
    }

    func answer(_ read: ReadRequest) {
        guard let size = attributes(of: read.inode)?.size else { return read.failed(.badFileDescriptor) }
        content.withParts(of: read.inode, read.offset..<min(read.offset + UInt64(read.count), max(size, read.offset))) {
            read.data($0)
        }
    }

    /// Answers what is held now.
    func answerHeld() {
        for read in held.withLock({ held in
            defer { held = [] }
            return held
        }) { answer(read) }
    }

    func release(_ request: consuming Request, handle: UInt64) {
        seen.withLock { $0.released += 1 }
        request.reply()
    }

    func openDirectory(_ request: consuming Request) {
        request.reply(directory: OpenDirectoryReply(handle: 0, cache: false))
    }

    func readDirectory(_ request: consuming Request, handle: UInt64, cookie: UInt64, count: Int, plus: Bool) {
        let buffer = DirectoryBuffer(count: count, plus: plus)
        var next = cookie
        while let (name, found) = entry(Int(next), of: request.inode) {
            var name = name
            let fits = name.withUTF8 {
                buffer.add(name: UnsafeRawBufferPointer($0), found, Self.hour, nextCookie: next + 1)
            }
            if !fits { break }
            if plus && next >= 2 { seen.withLock { $0.lookups[found.inode, default: 0] += 1 } }
            next += 1
        }
        request.reply(bytes: buffer.bytes)
    }

    private func entry(_ n: Int, of directory: UInt64) -> (String, FileAttributes)? {
        if n < 2 { return (n == 0 ? "." : "..", attributes(of: directory)!) }
        if directory == Inode.root {
            return n - 2 < Self.nodes.count
                ? (Self.nodes[n - 2].name, attributes(of: Self.nodes[n - 2].inode)!) : nil
        }
        return n - 2 < crowdSize ? ("file-\(n - 2)", attributes(of: Inode.first + UInt64(n - 2))!) : nil
    }

    func releaseDirectory(_ request: consuming Request, handle: UInt64) { request.reply() }

    func fileSystemStatistics(_ request: consuming Request) {
        request.reply(
            statistics: FileSystemStatistics(
                blockBytes: 4096, blocks: 1 << 30, freeBlocks: 1 << 29, files: 7, freeFiles: 3, nameMax: 255))
    }

    func extendedAttribute(_ request: consuming Request, name: String, count: Int) {
        if name == "user.colour" {
            request.reply(extendedAttribute: Array("blue".utf8), count: count)
        } else {
            request.fail(.noData)
        }
    }

    func extendedAttributeNames(_ request: consuming Request, count: Int) {
        request.reply(extendedAttribute: Array("user.colour\0".utf8), count: count)
    }

    func answered(_ answer: Answer) { seen.withLock { $0.answers[answer.operation, default: 0] += 1 } }
    func ended(_ ending: Session.Ending) { seen.withLock { $0.ending = ending } }
}

/// Bytes that tell their place: two files, or two places in a file, differ.
struct Pattern: Sendable {
    /// A prime, so that no block looks like the one before.
    private static let period = 1_000_003
    private let bytes: [UInt8] = {
        var state: UInt64 = 88_172_645_463_325_252
        return (0..<Pattern.period).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state)
        }
    }()

    /// The bytes as they lie in memory: one part for each turn of the pattern.
    func withParts(of inode: UInt64, _ range: Range<UInt64>, _ body: (UnsafeBufferPointer<iovec>) -> Void) {
        bytes.withUnsafeBytes { bytes in
            var parts: [iovec] = []
            var place = Int(range.lowerBound) + Int(inode) * 7
            var left = range.count
            while left > 0 {
                let start = place % Self.period
                let n = min(left, Self.period - start)
                parts.append(iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress! + start), iov_len: n))
                place += n
                left -= n
            }
            parts.withUnsafeBufferPointer(body)
        }
    }

    func bytes(of inode: UInt64, _ range: Range<UInt64>) -> [UInt8] {
        var out: [UInt8] = []
        withParts(of: inode, range) { parts in
            for part in parts {
                out.append(contentsOf: UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len))
            }
        }
        return out
    }
}
