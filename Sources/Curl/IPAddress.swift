import Glibc

/// An IPv4 or IPv6 address.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    /// Four bytes or sixteen, in network order.
    public let bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// From its text, without brackets and zone; nil: it is none.
    public init?(_ text: String) {
        var four = in_addr()
        var six = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            bytes = withUnsafeBytes(of: &four) { Array($0) }
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            bytes = withUnsafeBytes(of: &six) { Array($0) }
        } else {
            return nil
        }
    }

    /// From a socket's address; nil where that is of another family.
    public init?(_ address: UnsafePointer<sockaddr>) {
        let start = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let offset = MemoryLayout<sockaddr_in>.offset(of: \.sin_addr)!
            bytes = Array(UnsafeRawBufferPointer(start: start + offset, count: 4))
        case AF_INET6:
            let offset = MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr)!
            bytes = Array(UnsafeRawBufferPointer(start: start + offset, count: 16))
        default: return nil
        }
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        _ = bytes.withUnsafeBytes {
            inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, $0.baseAddress, &text, socklen_t(text.count))
        }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The IPv4 address that this IPv6 address leads to: mapped (`::ffff:0:0/96`), compatible (`::/96`), NAT64
    /// (`64:ff9b::/96`) or 6to4 (`2002::/16`).
    var embedded: IPAddress? {
        guard bytes.count == 16 else { return nil }
        let head = bytes[0..<12]
        let isMapped = head[0..<10].allSatisfy { $0 == 0 } && (head[10], head[11]) == (0xFF, 0xFF)
        let isCompatible = head.allSatisfy { $0 == 0 } && bytes[12] != 0
        let isTranslated = head.elementsEqual([0x00, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0])
        if isMapped || isCompatible || isTranslated { return IPAddress(bytes: Array(bytes[12..<16])) }
        return (bytes[0], bytes[1]) == (0x20, 0x02) ? IPAddress(bytes: Array(bytes[2..<6])) : nil
    }
}

/// Addresses with the same first bits, as `10.0.0.0/8`.
public struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    public let address: IPAddress
    /// Bits that count.
    public let length: Int

    /// `ADDRESS/BITS`, or one address alone; nil: it is neither.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(parts[0])) else { return nil }
        let most = address.bytes.count * 8
        guard parts.count == 1 || (Int(parts[1]).map { (0...most).contains($0) } ?? false) else { return nil }
        self.address = address
        length = parts.count == 2 ? Int(parts[1])! : most
    }

    public func contains(_ other: IPAddress) -> Bool {
        guard other.bytes.count == address.bytes.count else { return false }
        return (0..<length).allSatisfy { bit in
            let mask = UInt8(0x80) >> UInt8(bit % 8)
            return other.bytes[bit / 8] & mask == address.bytes[bit / 8] & mask
        }
    }

    public var description: String { "\(address)/\(length)" }
}
