import Glibc

/// Bytes that somebody else owns.
typealias Bytes = UnsafeRawBufferPointer

let slash = UInt8(ascii: "/")

/// The order of S3: by bytes, a prefix first. Negative, zero or positive.
@inline(__always)
func compare(_ a: Bytes, _ b: Bytes) -> Int {
    let common = min(a.count, b.count)
    if common > 0 {
        let order = memcmp(a.baseAddress!, b.baseAddress!, common)
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}

func compare(_ a: [UInt8], _ b: Bytes) -> Int { a.withUnsafeBytes { compare($0, b) } }
func compare(_ a: [UInt8], _ b: [UInt8]) -> Int { a.withUnsafeBytes { a in b.withUnsafeBytes { compare(a, $0) } } }

extension UnsafeRawBufferPointer {
    @inline(__always)
    func slice(_ range: Range<Int>) -> Bytes { Bytes(rebasing: self[range]) }

    func starts(with prefix: Bytes) -> Bool {
        count >= prefix.count && (prefix.isEmpty || memcmp(baseAddress!, prefix.baseAddress!, prefix.count) == 0)
    }
}

/// A position in the order of keys is a byte string; what lies at or after it is "from" it. An interval is half open.
enum Position {
    /// Just after `key` itself.
    static func after(_ key: Bytes) -> [UInt8] {
        var bytes = [UInt8]()
        bytes.reserveCapacity(key.count + 1)
        bytes.append(contentsOf: key)
        bytes.append(0)
        return bytes
    }

    /// Just after everything that starts with `prefix`; nil: there is nothing after it.
    static func afterAll(_ prefix: Bytes) -> [UInt8]? {
        var bytes = Array(prefix)
        while let last = bytes.popLast() {
            if last < 0xff {
                bytes.append(last + 1)
                return bytes
            }
        }
        return nil
    }

    /// Where the entry `raw` (with its "/" for a directory) ends: a directory takes all that is in it along.
    static func after(entry raw: Bytes) -> [UInt8] {
        raw.last == slash ? afterAll(raw)! : after(raw)
    }

    /// A key to start after, so that nothing from `position` on is missed. Little before it comes along, as no key's
    /// name starts with U+10FFFF.
    static func startAfter(_ position: [UInt8]) -> [UInt8]? {
        guard let last = position.last else { return nil }
        var key = position
        key.removeLast()
        if last == 0 { return key }
        // Half of a UTF-8 sequence may be no key: then the whole prefix before it is listed once more.
        if last < 0x80 {
            key.append(last - 1)
            if last > 0x20 { key.append(contentsOf: [0xf4, 0x8f, 0xbf, 0xbf]) }
        } else {
            while let tail = key.last, tail >= 0x80 { key.removeLast() }
        }
        return key.isEmpty ? nil : key
    }
}
