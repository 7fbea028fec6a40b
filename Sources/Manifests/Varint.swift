/// Unsigned LEB128: seven bits a byte, the low ones first.
enum Varint {
    static func append(_ value: UInt64, to out: inout [UInt8]) {
        var value = value
        while value >= 0x80 {
            out.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        out.append(UInt8(value))
    }

    /// Small whatever the sign.
    static func append(signed value: Int64, to out: inout [UInt8]) {
        append(UInt64(bitPattern: value << 1 ^ value >> 63), to: &out)
    }
}

/// Reads values one after another; nothing that the bytes say leads it out of them.
struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    mutating func byte() throws(ManifestError) -> UInt8 {
        guard position < bytes.count else { throw ManifestError("it ends inside an entry") }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func varint() throws(ManifestError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = try byte()
            guard shift < 63 || (shift == 63 && byte <= 1) else { throw ManifestError("a number is too large") }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
    }

    mutating func signedVarint() throws(ManifestError) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    mutating func take(_ count: UInt64) throws(ManifestError) -> UnsafeRawBufferPointer {
        guard count <= UInt64(bytes.count - position) else { throw ManifestError("it ends inside an entry") }
        defer { position += Int(count) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + Int(count)])
    }
}

extension UnsafeRawBufferPointer {
    /// Little-endian; the caller has checked the bounds.
    func integer<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}

extension [UInt8] {
    mutating func append(littleEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}
