import Glibc

/// An ETag as it is stored: MD5s as 16 bytes, uploads in parts as 18, any other text as it is.
enum EntryTag {
    enum Form: UInt8 {
        case text = 0
        case md5 = 1
        case parts = 2
    }

    /// Appends the packed form. Nil: longer than 255 bytes, which no entry can hold.
    static func pack(_ text: Bytes, into out: inout [UInt8]) -> Form? {
        if text.count >= 32, let digest = digest(text) {
            if text.count == 32 {
                out.append(contentsOf: digest)
                return .md5
            }
            if let parts = parts(text.slice(32..<text.count)) {
                out.append(contentsOf: digest)
                out.append(UInt8(truncatingIfNeeded: parts))
                out.append(UInt8(truncatingIfNeeded: parts >> 8))
                return .parts
            }
        }
        guard text.count <= 255 else { return nil }
        out.append(contentsOf: text)
        return .text
    }

    static func text(_ packed: Bytes, _ form: Form) -> String {
        guard form != .text else { return String(decoding: packed, as: UTF8.self) }
        return String(unsafeUninitializedCapacity: 40) { out in
            for i in 0..<16 {
                out[2 * i] = digit(packed[i] >> 4)
                out[2 * i + 1] = digit(packed[i] & 15)
            }
            guard form == .parts else { return 32 }
            out[32] = UInt8(ascii: "-")
            var end = 33
            for byte in String(UInt16(packed[16]) | UInt16(packed[17]) << 8).utf8 {
                out[end] = byte
                end += 1
            }
            return end
        }
    }

    /// 32 lower-case hexadecimal digits as 16 bytes.
    private static func digest(_ text: Bytes) -> [UInt8]? {
        var out = [UInt8](repeating: 0, count: 16)
        for i in 0..<32 {
            let byte = text[i]
            let value: UInt8
            switch byte {
            case 0x30...0x39: value = byte - 0x30
            case 0x61...0x66: value = byte - 0x61 + 10
            default: return nil
            }
            out[i / 2] |= i % 2 == 0 ? value << 4 : value
        }
        return out
    }

    /// "-12" as 12: only as it would be written again.
    private static func parts(_ text: Bytes) -> UInt16? {
        guard text.count >= 2, text.count <= 6, text[0] == UInt8(ascii: "-"), text[1] != UInt8(ascii: "0") else {
            return nil
        }
        var value = 0
        for byte in text[1...] {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return UInt16(exactly: value)
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x61 + value - 10 }
}
