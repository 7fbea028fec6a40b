import Curl

/// "bytes 0-99/1234" of a 206.
public struct ContentRange: Sendable, Equatable {
    public var range: Range<UInt64>
    /// Nil where the server wrote "*".
    public var total: UInt64?

    public init?(_ text: UnsafeRawBufferPointer) {
        let unit = "bytes ".utf8
        guard text.starts(with: unit) else { return nil }
        let rest = text[unit.count...]
        guard let dash = rest.firstIndex(of: 0x2D), let slash = rest.firstIndex(of: 0x2F), dash < slash,
            let first = Decimal.parse(.init(rebasing: rest[..<dash])),
            let last = Decimal.parse(.init(rebasing: rest[(dash + 1)..<slash])), first <= last, last < .max
        else { return nil }
        let totalText = rest[(slash + 1)...]
        if !totalText.elementsEqual("*".utf8) {
            guard let total = Decimal.parse(.init(rebasing: totalText)), last < total else { return nil }
            self.total = total
        }
        range = first..<(last + 1)
    }
}
