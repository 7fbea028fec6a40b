import Glibc

/// The bytes of an object, kept, computed or read from a file.
public enum ObjectBody: Sendable {
    case bytes([UInt8])
    /// Deterministic bytes of any size that take no memory: byte `o` is byte `o % 8` (little end first) of word
    /// `o / 8` of the splitmix64 sequence that starts at `seed`.
    case generated(size: UInt64, seed: UInt64)
    case file(path: String, size: UInt64)

    public static func text(_ text: String) -> ObjectBody { .bytes(Array(text.utf8)) }

    public var size: UInt64 {
        switch self {
        case .bytes(let bytes): UInt64(bytes.count)
        case .generated(let size, _), .file(_, let size): size
        }
    }

    /// The bytes of a range, cut to the size.
    public func bytes(in range: Range<UInt64>) -> [UInt8] {
        let range = range.clamped(to: 0..<size)
        return [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            _ = read(at: range.lowerBound, into: UnsafeMutableRawBufferPointer(buffer))
            count = range.count
        }
    }

    /// Fills `buffer` from `offset`; the range must be within the size. False: the file doesn't hold it any more.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        guard !buffer.isEmpty else { return true }
        precondition(offset + UInt64(buffer.count) <= size, "a read beyond the end of a body")
        switch self {
        case .bytes(let bytes):
            bytes.withUnsafeBytes { source in
                buffer.copyMemory(from: .init(rebasing: source[Int(offset)..<Int(offset) + buffer.count]))
            }
        case .generated(_, let seed):
            generate(seed: seed, at: offset, into: buffer)
        case .file(let path, _):
            let file = open(path, O_RDONLY | O_CLOEXEC)
            guard file >= 0 else { return false }
            defer { close(file) }
            var done = 0
            while done < buffer.count {
                let count = pread(file, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
                guard count > 0 else { return false }
                done += count
            }
        }
        return true
    }
}

private let golden: UInt64 = 0x9e37_79b9_7f4a_7c15

private func mixed(_ word: UInt64) -> UInt64 {
    var z = word
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
}

private func generate(seed: UInt64, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
    let start = mixed(seed &+ golden)
    var index = offset / 8
    var done = 0
    let skipped = Int(offset % 8)
    if skipped > 0 {
        var word = mixed(start &+ index &* golden).littleEndian
        done = min(8 - skipped, buffer.count)
        withUnsafeBytes(of: &word) { _ = memcpy(buffer.baseAddress!, $0.baseAddress! + skipped, done) }
        index += 1
    }
    while done + 8 <= buffer.count {
        buffer.storeBytes(of: mixed(start &+ index &* golden).littleEndian, toByteOffset: done, as: UInt64.self)
        index += 1
        done += 8
    }
    if done < buffer.count {
        var word = mixed(start &+ index &* golden).littleEndian
        withUnsafeBytes(of: &word) { _ = memcpy(buffer.baseAddress! + done, $0.baseAddress!, buffer.count - done) }
    }
}
