/// Puts keys on a line, so that a range of them can be cut in parts that hold about as many each: a guess from the keys
/// seen so far. A bad guess costs requests, never correctness.
///
/// With landmarks (the names of a directory's children, each a prefix) every landmark is as long as the next; within
/// one, and where there are none, each byte of a key is a digit in the alphabet that its position was seen to use, up to
/// the first position that holds no ASCII: a cut there could fall into a character, which S3 may refuse.
struct KeyScale {
    /// Sorted.
    let landmarks: [[UInt8]]
    private var seen: [ByteSet] = []
    private var alphabets: [[UInt8]] = []
    private var isStale = false

    private struct ByteSet: Equatable {
        var low: UInt64 = 0
        var high: UInt64 = 0
        mutating func insert(_ byte: UInt8) {
            if byte < 64 { low |= 1 << UInt64(byte) } else if byte < 128 { high |= 1 << UInt64(byte - 64) }
        }
        func contains(_ byte: UInt8) -> Bool {
            byte < 64 ? low >> UInt64(byte) & 1 == 1 : byte < 128 && high >> UInt64(byte - 64) & 1 == 1
        }
        var count: Int { low.nonzeroBitCount + high.nonzeroBitCount }
    }

    /// Positions beyond this many are not looked at.
    static let depth = 64

    init(landmarks: [[UInt8]] = []) { self.landmarks = landmarks }

    /// The length of the line.
    var length: Double { Double(landmarks.count + 1) }

    mutating func learn(_ key: Bytes) {
        let suffix = key.slice(base(of: key)..<key.count)
        for i in 0..<min(suffix.count, Self.depth) {
            if i == seen.count { seen.append(ByteSet()) }
            let old = seen[i]
            seen[i].insert(suffix[i])
            if seen[i] != old { isStale = true }
        }
    }

    /// Learns what can be told only by many keys: call it after some were learned.
    mutating func settle() {
        guard isStale else { return }
        isStale = false
        alphabets = seen.map(Self.alphabet)
    }

    /// All bytes that a position may use which used these: where a digit was seen, all digits will come; letters come
    /// only where more than one was seen.
    private static func alphabet(_ seen: ByteSet) -> [UInt8] {
        let all = (UInt8(0)..<128).filter(seen.contains)
        var out = Set(all)
        let isDigit = { (byte: UInt8) in (0x30...0x39).contains(byte) }
        if all.contains(where: isDigit) { out.formUnion(0x30...0x39) }
        for first in [UInt8(ascii: "a"), UInt8(ascii: "A")] {
            let letters = all.filter { ($0 >= first) && ($0 < first + 26) }
            guard letters.count > 1 || (letters.count == 1 && all.contains(where: isDigit)) else { continue }
            let isHex = letters.allSatisfy { $0 < first + 6 } && all.contains(where: isDigit)
            out.formUnion(first..<first + (isHex ? 6 : 26))
        }
        return out.sorted()
    }

    /// Where `key` lies, from 0 to `length`; never falls from one key to a later one, but for rounding.
    func place(_ key: Bytes) -> Double {
        let landmark = landmarkIndex(key)
        let start = Double(landmark + 1)
        guard landmark >= 0 else { return start + fraction(key) }
        let base = landmarks[landmark]
        guard key.starts(with: base) else { return start + 0.999 }
        return start + 0.998 * fraction(key.slice(base.count..<key.count))
    }

    /// A key at about `place`; nil: nothing is known to make one from.
    func key(at place: Double) -> [UInt8]? {
        let landmark = min(Int(place), landmarks.count) - 1
        let rest = min((place - Double(landmark + 1)) / (landmark < 0 ? 1 : 0.998), 0.999_999)
        var key = landmark < 0 ? [] : landmarks[landmark]
        if landmark >= 0, rest < 0.02 { return key }
        let count = key.count
        append(rest, to: &key)
        return key.count > count || landmark >= 0 ? key : nil
    }

    private func landmarkIndex(_ key: Bytes) -> Int {
        var low = 0
        var high = landmarks.count
        while low < high {
            let middle = (low + high) / 2
            if compare(landmarks[middle], key) <= 0 { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    private func base(of key: Bytes) -> Int {
        let landmark = landmarkIndex(key)
        guard landmark >= 0, landmarks[landmark].withUnsafeBytes({ key.starts(with: $0) }) else { return 0 }
        return landmarks[landmark].count
    }

    private func fraction(_ suffix: Bytes) -> Double {
        var place = 0.0
        var weight = 1.0
        for i in 0..<min(suffix.count, alphabets.count) {
            let alphabet = alphabets[i]
            if alphabet.isEmpty { break }
            let rank = alphabet.firstIndex { $0 >= suffix[i] } ?? alphabet.count
            place += weight * Double(rank) / Double(alphabet.count)
            guard rank < alphabet.count, alphabet[rank] == suffix[i] else { break }
            weight /= Double(alphabet.count)
            if weight < 1e-15 { break }
        }
        return min(place, 0.999_999_999)
    }

    private func append(_ fraction: Double, to key: inout [UInt8]) {
        var rest = fraction
        var weight = 1.0
        for alphabet in alphabets {
            if alphabet.isEmpty { break }
            let scaled = rest * Double(alphabet.count)
            let rank = min(Int(scaled), alphabet.count - 1)
            // A "/" would put the cut into a directory, of which a delimited listing knows nothing.
            if alphabet[rank] == slash { break }
            key.append(alphabet[rank])
            rest = scaled - Double(rank)
            weight /= Double(alphabet.count)
            if weight < 1e-7 || rest < 1e-6 { break }
        }
    }
}
