/// RFC 3986 as SigV4 wants it: everything but letters, digits and `-_.~` becomes `%XX`, in upper case.
package enum PercentEncoding {
    private static let hex = Array("0123456789ABCDEF".utf8)

    /// `keepsSlash`: for a path; in a query "/" is encoded too.
    static func append(_ bytes: some Sequence<UInt8>, to out: inout [UInt8], keepsSlash: Bool) {
        for byte in bytes {
            if isUnreserved(byte) || (keepsSlash && byte == UInt8(ascii: "/")) {
                out.append(byte)
            } else {
                out.append(UInt8(ascii: "%"))
                out.append(hex[Int(byte >> 4)])
                out.append(hex[Int(byte & 15)])
            }
        }
    }

    package static func encode(_ bytes: some Sequence<UInt8>, keepsSlash: Bool) -> String {
        var out: [UInt8] = []
        append(bytes, to: &out, keepsSlash: keepsSlash)
        return String(decoding: out, as: UTF8.self)
    }

    /// What a path or a part of one stands for: "+" is itself.
    package static func decodePath(_ text: some StringProtocol) -> [UInt8] {
        var bytes = Array(text.utf8)
        bytes.removeLast(bytes.count - bytes.withUnsafeMutableBufferPointer { decode($0, plusIsSpace: false) })
        return bytes
    }

    /// Decodes in place as the answers with encoding-type=url are written ("+" is a space) and gives the new count.
    static func decodeForm(_ bytes: UnsafeMutableBufferPointer<UInt8>) -> Int { decode(bytes, plusIsSpace: true) }

    /// A "%" that is no escape stays as it is.
    private static func decode(_ bytes: UnsafeMutableBufferPointer<UInt8>, plusIsSpace: Bool) -> Int {
        var read = 0
        var write = 0
        while read < bytes.count {
            let byte = bytes[read]
            if byte == UInt8(ascii: "%"), read + 2 < bytes.count, let high = digit(bytes[read + 1]),
                let low = digit(bytes[read + 2])
            {
                bytes[write] = high << 4 | low
                read += 3
            } else {
                bytes[write] = plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte
                read += 1
            }
            write += 1
        }
        return write
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x41...0x5A, 0x61...0x7A, 0x30...0x39, 0x2D, 0x2E, 0x5F, 0x7E: true
        default: false
        }
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
