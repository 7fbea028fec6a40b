/// Makes volume ids that say what the volume shows and that only this cluster's controller can make, so that no database
/// of volumes is needed: `m1-NONCE-MAC-WHAT`, at most 128 bytes.
public struct VolumeIDs: Sendable {
    /// CSI's limit.
    public static let mostBytes = 128
    private static let version = "m1"
    private let key: [UInt8]

    /// `key`: at least 16 secret bytes, the same in all replicas.
    public init(key: [UInt8]) {
        precondition(key.count >= 16, "the key of volume ids is too short")
        self.key = key
    }

    /// The id of the volume with this name (a CSI name or a claim's UID) of this view; always the same one.
    public func id(name: String, showing what: String) -> String {
        let nonce = String(SHA256.hex(name).prefix(20))
        let head = "\(Self.version)-\(nonce)-"
        let room = Self.mostBytes - head.utf8.count - 32 - 1
        let what = Self.shortened(what, room)
        return "\(head)\(mac(nonce, what))-\(what)"
    }

    /// What a genuine id shows; nil for anything else.
    public func read(_ id: String) -> (nonce: String, what: String)? {
        guard id.utf8.count <= Self.mostBytes else { return nil }
        let parts = id.split(separator: "-", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4, parts[0] == Self.version else { return nil }
        let expected = Array(mac(parts[1], parts[3]).utf8)
        let given = Array(parts[2].utf8)
        guard expected.count == given.count else { return nil }
        // All bytes are compared, so that the time says nothing about the first wrong one.
        let difference = zip(expected, given).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) }
        return difference == 0 ? (parts[1], parts[3]) : nil
    }

    private func mac(_ nonce: String, _ what: String) -> String {
        let text = "\(Self.version)\n\(nonce)\n\(what)"
        return SHA256.hmac(Array(text.utf8), key: key).prefix(16).hex
    }

    /// Printable ASCII; what is too long keeps its beginning and a digest of the whole.
    private static func shortened(_ text: String, _ room: Int) -> String {
        var plain = ""
        for byte in text.utf8 {
            plain.unicodeScalars.append((0x21...0x7e).contains(byte) ? Unicode.Scalar(byte) : "_")
        }
        if plain == text && plain.utf8.count <= room { return plain }
        return "\(plain.prefix(room - 17))~\(SHA256.hex(text).prefix(16))"
    }
}

extension DatasetView {
    /// What a volume id says of it.
    public var summary: String {
        dataset.map { "ds:\($0)\(subPath.map { ":\($0)" } ?? "")" } ?? "s3:\(source.bucket)/\(prefix)"
    }
}
