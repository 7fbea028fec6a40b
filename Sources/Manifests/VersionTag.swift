import S3

/// How an object's ETag and version ID are written: an MD5 takes 16 bytes instead of 32, a UUID 16 instead of 36, a
/// version ID of AWS 24 instead of 32. Any other text is kept as it is.
enum VersionTag {
    /// In an entry's flags, two bits each.
    enum Form: UInt8 {
        case none = 0
        /// Length and bytes.
        case text = 1
        /// 16 bytes: of an ETag 32 hexadecimal digits, of a version a UUID.
        case digest = 2
        /// Of an ETag 16 bytes and the number of parts; of a version its length and 6 bits a character.
        case long = 3
    }

    static func appendETag(_ text: UnsafeRawBufferPointer, to out: inout [UInt8]) -> Form {
        if text.isEmpty { return .none }
        if text.count >= 32, let digest = Hex.digits(text, 0..<32) {
            if text.count == 32 {
                out += digest
                return .digest
            }
            if let parts = parts(text) {
                out += digest
                Varint.append(parts, to: &out)
                return .long
            }
        }
        return appendText(text, to: &out)
    }

    static func appendVersion(_ text: UnsafeRawBufferPointer, to out: inout [UInt8]) -> Form {
        if text.isEmpty { return .none }
        if let uuid = Hex.uuid(text) {
            out += uuid
            return .digest
        }
        if text.count >= 4, text.count < 256, text.allSatisfy({ SixBits.value($0) != nil }) {
            Varint.append(UInt64(text.count), to: &out)
            SixBits.append(text, to: &out)
            return .long
        }
        return appendText(text, to: &out)
    }

    private static func appendText(_ text: UnsafeRawBufferPointer, to out: inout [UInt8]) -> Form {
        Varint.append(UInt64(text.count), to: &out)
        out += text
        return .text
    }

    /// Appends the text to `out`.
    static func readETag(
        _ form: Form, _ reader: inout ByteReader, into out: inout [UInt8]
    ) throws(ManifestError) {
        switch form {
        case .none: return
        case .text: out += try reader.take(try reader.varint())
        case .digest: Hex.append(try reader.take(16), to: &out)
        case .long:
            Hex.append(try reader.take(16), to: &out)
            out.append(UInt8(ascii: "-"))
            out += String(try reader.varint()).utf8
        }
    }

    static func readVersion(
        _ form: Form, _ reader: inout ByteReader, into out: inout [UInt8]
    ) throws(ManifestError) {
        switch form {
        case .none: return
        case .text: out += try reader.take(try reader.varint())
        case .digest: Hex.appendUUID(try reader.take(16), to: &out)
        case .long:
            let count = try reader.varint()
            guard count < 256 else { throw ManifestError("a version ID is too long") }
            SixBits.read(try reader.take((count * 6 + 7) / 8), count: Int(count), into: &out)
        }
    }

    /// "-12" after the digits, only as it would be written again.
    private static func parts(_ text: UnsafeRawBufferPointer) -> UInt64? {
        guard (34...39).contains(text.count), text[32] == UInt8(ascii: "-"), text[33] != UInt8(ascii: "0") else {
            return nil
        }
        var value: UInt64 = 0
        for byte in text[33...] {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + UInt64(byte - 0x30)
        }
        return value
    }
}

/// Lower-case hexadecimal digits.
enum Hex {
    private static let dashes = [8, 13, 18, 23]

    static func digits(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> [UInt8]? {
        var out: [UInt8] = []
        for i in stride(from: range.lowerBound, to: range.upperBound, by: 2) {
            guard let high = value(text[i]), let low = value(text[i + 1]) else { return nil }
            out.append(high << 4 | low)
        }
        return out
    }

    static func uuid(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        guard text.count == 36, dashes.allSatisfy({ text[$0] == UInt8(ascii: "-") }) else { return nil }
        var out: [UInt8] = []
        for group in [0..<8, 9..<13, 14..<18, 19..<23, 24..<36] {
            guard let part = digits(text, group) else { return nil }
            out += part
        }
        return out
    }

    static func append(_ bytes: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        for byte in bytes {
            out.append(digit(byte >> 4))
            out.append(digit(byte & 15))
        }
    }

    static func appendUUID(_ bytes: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        for (i, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(i) { out.append(UInt8(ascii: "-")) }
            out.append(digit(byte >> 4))
            out.append(digit(byte & 15))
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x61 + value - 10 }

    private static func value(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}

/// Letters, digits, "." and "_": what version IDs of AWS are made of.
enum SixBits {
    static func value(_ byte: UInt8) -> UInt32? {
        switch byte {
        case 0x41...0x5a: UInt32(byte - 0x41)
        case 0x61...0x7a: UInt32(byte - 0x61) + 26
        case 0x30...0x39: UInt32(byte - 0x30) + 52
        case UInt8(ascii: "."): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }

    private static let characters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._".utf8)

    static func append(_ text: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        var bits: UInt32 = 0
        var count = 0
        for byte in text {
            bits = bits << 6 | (value(byte) ?? 0)
            count += 6
            while count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        if count > 0 { out.append(UInt8(truncatingIfNeeded: bits << UInt32(8 - count))) }
    }

    static func read(_ bytes: UnsafeRawBufferPointer, count: Int, into out: inout [UInt8]) {
        var bits: UInt32 = 0
        var held = 0
        var next = 0
        for _ in 0..<count {
            if held < 6 {
                bits = bits << 8 | UInt32(bytes[next])
                next += 1
                held += 8
            }
            held -= 6
            out.append(characters[Int(bits >> UInt32(held) & 63)])
        }
    }
}
