/// What a whole file must hash to.
public struct Checksum: Sendable, Hashable, CustomStringConvertible {
    public enum Algorithm: String, Sendable, CaseIterable {
        case md5, sha1, sha256, sha512, crc32, crc32c, crc64nvme

        /// Bytes of a digest.
        public var byteCount: Int {
            switch self {
            case .md5: 16
            case .sha1: 20
            case .sha256: 32
            case .sha512: 64
            case .crc32, .crc32c: 4
            case .crc64nvme: 8
            }
        }
    }

    public var algorithm: Algorithm
    public var digest: [UInt8]

    /// `ALGORITHM:HEX`, or the hex digits alone where their number says which of md5, sha1, sha256 and sha512 it is.
    public init(_ text: String) throws(ChecksumError) {
        let halves = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let hex = halves.last.map { $0.filter { $0 != " " } } ?? ""
        guard let digest = Hex.bytes(hex) else {
            throw ChecksumError("\"\(text.prefix(200))\" has no hexadecimal digest; give one like sha256:9f86d0…")
        }
        let named = halves.count == 2 ? Self.algorithm(named: String(halves[0])) : nil
        if halves.count == 2, named == nil {
            throw ChecksumError("\"\(halves[0].prefix(40))\" isn't a known algorithm; use md5, sha1, sha256 or sha512")
        }
        let byLength = [Algorithm.md5, .sha1, .sha256, .sha512].first { $0.byteCount == digest.count }
        guard let algorithm = named ?? byLength, algorithm.byteCount == digest.count else {
            throw ChecksumError("\"\(text.prefix(200))\" has \(digest.count) bytes, which fits no digest of its kind")
        }
        self.init(algorithm, digest)
    }

    public init(_ algorithm: Algorithm, _ digest: [UInt8]) {
        self.algorithm = algorithm
        self.digest = digest
    }

    private static func algorithm(named name: String) -> Algorithm? {
        Algorithm(rawValue: name.lowercased().filter { $0 != "-" && $0 != " " })
    }

    public var description: String { "\(algorithm.rawValue):\(Hex.text(digest))" }
}

/// What is wrong with a checksum or a list of them, and what would be right.
public struct ChecksumError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    init(_ description: String) { self.description = description }
}

enum Hex {
    static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard !digits.isEmpty, digits.count % 2 == 0, !digits.contains(nil) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0]! << 4 | digits[$0 + 1]!) }
    }

    static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
