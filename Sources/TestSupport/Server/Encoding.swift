import Glibc

private let hexDigits = Array("0123456789ABCDEF".utf8)

/// RFC 3986, as SigV4 wants it: all but letters, digits and `-._~` (and "/" where `keepsSlash`).
func percentEncoded(_ bytes: some Sequence<UInt8>, keepsSlash: Bool = false) -> String {
    var result: [UInt8] = []
    for byte in bytes {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            result.append(byte)
        case UInt8(ascii: "/") where keepsSlash: result.append(byte)
        default: result += [UInt8(ascii: "%"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]]
        }
    }
    return String(decoding: result, as: UTF8.self)
}

/// `plusIsSpace`: as in queries.
func percentDecoded(_ text: some StringProtocol, plusIsSpace: Bool = false) -> [UInt8] {
    let source = Array(text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < source.count {
        if source[index] == UInt8(ascii: "%"), index + 2 < source.count,
            let byte = UInt8(String(decoding: source[index + 1...index + 2], as: UTF8.self), radix: 16)
        {
            result.append(byte)
            index += 3
        } else {
            result.append(plusIsSpace && source[index] == UInt8(ascii: "+") ? 32 : source[index])
            index += 1
        }
    }
    return result
}

func xmlEscaped(_ text: String) -> String { String(decoding: xmlEscaped(Array(text.utf8)), as: UTF8.self) }

/// Control characters become references, which XML 1.0 forbids and S3 sends all the same.
func xmlEscaped(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    for byte in bytes {
        switch byte {
        case UInt8(ascii: "&"): result += Array("&amp;".utf8)
        case UInt8(ascii: "<"): result += Array("&lt;".utf8)
        case UInt8(ascii: ">"): result += Array("&gt;".utf8)
        case UInt8(ascii: "\""): result += Array("&quot;".utf8)
        case 0..<9, 11..<32: result += Array("&#x\(String(byte, radix: 16));".utf8)
        default: result.append(byte)
        }
    }
    return result
}

enum Timestamp {
    private static func format(_ seconds: Int64, _ format: String) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        var buffer = [CChar](repeating: 0, count: 64)
        let count = strftime(&buffer, buffer.count, format, &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// "Sat, 21 Nov 2026 13:00:00 GMT"
    static func http(_ seconds: Int64) -> String { format(seconds, "%a, %d %b %Y %H:%M:%S GMT") }

    /// "2026-11-21T13:00:00.000Z"
    static func iso(_ seconds: Int64) -> String { format(seconds, "%Y-%m-%dT%H:%M:%S.000Z") }

    /// Seconds since 1970 of "20261121T130000Z".
    static func parseBasic(_ text: String) -> Int64? {
        let digits = text.utf8.map { Int32($0) - 48 }
        guard text.utf8.count == 16, text.hasSuffix("Z"), text.dropFirst(8).hasPrefix("T") else { return nil }
        func number(_ range: Range<Int>) -> Int32 { digits[range].reduce(0) { $0 * 10 + $1 } }
        var parts = tm()
        parts.tm_year = number(0..<4) - 1900
        parts.tm_mon = number(4..<6) - 1
        parts.tm_mday = number(6..<8)
        parts.tm_hour = number(9..<11)
        parts.tm_min = number(11..<13)
        parts.tm_sec = number(13..<15)
        return Int64(timegm(&parts))
    }
}
