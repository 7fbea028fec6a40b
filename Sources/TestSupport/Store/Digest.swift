import CCrypto

enum DigestKind {
    case md5, sha256
    var algorithm: OpaquePointer { self == .md5 ? EVP_md5() : EVP_sha256() }
    var size: Int { self == .md5 ? 16 : 32 }
}

func digest(_ kind: DigestKind, _ bytes: [UInt8]) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: kind.size)
    precondition(EVP_Digest(bytes, bytes.count, &result, nil, kind.algorithm, nil) == 1, "EVP_Digest failed")
    return result
}

func hmacSHA256(key: [UInt8], _ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    var result = [UInt8](repeating: 0, count: 32)
    precondition(HMAC(EVP_sha256(), key, Int32(key.count), bytes, bytes.count, &result, nil) != nil, "HMAC failed")
    return result
}

func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

func unhex(_ text: some StringProtocol) -> [UInt8]? {
    let digits = text.utf8.map { UInt8(truncatingIfNeeded: Character(UnicodeScalar($0)).hexDigitValue ?? 255) }
    guard digits.count % 2 == 0, !digits.contains(255) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
