// Writes to, or checks, a disk cache with objects whose every byte is known from its place: for the tests that kill a
// writer. `write DIR SEED` prints "ready" and goes on until it is killed; `check DIR` compares all that is cached and
// prints "right N wrong N files N".
import BlockCache
import Glibc
import Logging
import PrometheusMetrics
import S3
import SystemPackage
import Threads

/// A seeded stream of numbers (SplitMix64).
struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

struct Object {
    let number: Int
    var key: DiskKey {
        DiskKey(scope: "s", bucket: "b", key: ObjectKey("object-\(number)"), etag: "e", versionID: nil, size: size)
    }
    var size: UInt64 { UInt64(1 + number * 54_321) }
    var blocks: Int { Int((size + UInt64(DiskCache.blockBytes) - 1) / UInt64(DiskCache.blockBytes)) }

    func bytes(_ block: Int) -> [UInt8] {
        let start = block * DiskCache.blockBytes
        let count = min(DiskCache.blockBytes, Int(size) - start)
        var numbers = Numbers(state: UInt64(number << 32 | block))
        var words: [UInt64] = []
        while words.count * 8 < count { words.append(numbers.next()) }
        return words.withUnsafeBytes { Array($0.prefix(count)) }
    }
}

let objects = (0..<24).map(Object.init)
guard CommandLine.arguments.count >= 3 else {
    print("usage: disk-cache-writer write DIR SEED | check DIR")
    exit(2)
}
LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
// Less than the objects take, so that there is eviction too.
let cache = try DiskCache(
    directory: CommandLine.arguments[2], maxBytes: 10 << 20, reservedFreeBytes: 0, queueBytes: 1 << 20,
    metrics: Registry(), logger: Logger(label: "disk-cache-writer"))

func read(_ entry: DiskEntry, _ blocks: Range<Int>, count: Int) -> [UInt8]? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    defer { buffer.deallocate() }
    let done = Promise<Bool>()
    entry.read(blocks, into: buffer) { done.fulfil($0) }
    guard let isRight = done.wait(until: .now.advanced(byMs: 60_000)) else { fatalError("no answer in a minute") }
    return isRight ? Array(buffer) : nil
}

switch CommandLine.arguments[1] {
case "write":
    var numbers = Numbers(state: UInt64(CommandLine.arguments[3]) ?? 0)
    print("ready")
    fflush(nil)
    while true {
        let object = objects.randomElement(using: &numbers)!
        guard let entry = cache.entry(object.key) else { continue }
        let start = Int.random(in: 0..<object.blocks, using: &numbers)
        for block in start..<min(object.blocks, start + 8) {
            object.bytes(block).withUnsafeBytes { entry.write(block, $0) }
        }
        _ = entry.completeFile()
        entry.release()
    }
case "check":
    var (right, wrong, files) = (0, 0, 0)
    for object in objects {
        guard let entry = cache.entry(object.key) else { continue }
        defer { entry.release() }
        let cached = (0..<object.blocks).filter { entry.has($0) }
        for block in cached {
            let expected = object.bytes(block)
            if read(entry, block..<block + 1, count: expected.count) == expected { right += 1 } else { wrong += 1 }
        }
        // Every block was read and found right, so the file needs no pass of its own.
        guard cached.count == object.blocks else { continue }
        guard let file = entry.completeFile() else {
            wrong += 1
            continue
        }
        files += 1
        let whole = (0..<object.blocks).flatMap { object.bytes($0) }
        var bytes = [UInt8](repeating: 0, count: whole.count + 1)
        let count = try bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) }
        if bytes.prefix(count) != whole[...] { wrong += 1 }
    }
    cache.close()
    print("right \(right) wrong \(wrong) files \(files)")
default:
    print("unknown command \(CommandLine.arguments[1])")
    exit(2)
}
