/// A line of an HTTP head, parsed where it lies.
public enum HeaderLine {
    case status(Int)
    case field(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)
    case end
    /// Neither; HTTP says to ignore or to refuse it.
    case malformed

    /// `line` has no line end.
    public init(_ line: UnsafeRawBufferPointer) {
        if line.isEmpty {
            self = .end
        } else if line.starts(with: "HTTP/".utf8) {
            self = Self.parseStatus(line)
        } else if let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0 {
            let value = Self.trimmed(.init(rebasing: line[(colon + 1)...]))
            self = .field(name: .init(rebasing: line[..<colon]), value: value)
        } else {
            self = .malformed
        }
    }

    private static func parseStatus(_ line: UnsafeRawBufferPointer) -> HeaderLine {
        guard let space = line.firstIndex(of: 0x20) else { return .malformed }
        let digits = line[(space + 1)...].prefix(3)
        guard digits.count == 3, let status = Decimal.parse(.init(rebasing: digits)), status >= 100 else {
            return .malformed
        }
        let after = digits.endIndex
        guard after == line.endIndex || line[after] == 0x20 else { return .malformed }
        return .status(Int(status))
    }

    private static func trimmed(_ value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var value = value[...]
        while let first = value.first, first == 0x20 || first == 0x09 { value = value.dropFirst() }
        while let last = value.last, last == 0x20 || last == 0x09 { value = value.dropLast() }
        return UnsafeRawBufferPointer(rebasing: value)
    }

    /// Whether a header's name is this one, which is in lower case.
    public static func isName(_ name: UnsafeRawBufferPointer, _ lowercased: StaticString) -> Bool {
        guard name.count == lowercased.utf8CodeUnitCount else { return false }
        for i in 0..<name.count where lower(name[i]) != lowercased.utf8Start[i] { return false }
        return true
    }

    public static func lower(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte }
}

/// Unsigned decimal numbers in ASCII.
public enum Decimal {
    /// Nil where it is empty, has anything but digits, or does not fit.
    public static func parse(_ digits: UnsafeRawBufferPointer) -> UInt64? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard byte >= 0x30 && byte <= 0x39 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflow2) = product.addingReportingOverflow(UInt64(byte - 0x30))
            if overflow || overflow2 { return nil }
            value = sum
        }
        return value
    }
}
