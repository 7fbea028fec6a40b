import CCrypto

/// A short digest, to compare by and to make names of.
enum Fingerprint {
    /// 16 hex digits of the text's SHA-256.
    static func of(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var out = [UInt8](repeating: 0, count: 32)
        let status = EVP_Digest(bytes, bytes.count, &out, nil, EVP_sha256(), nil)
        precondition(status == 1, "SHA-256 failed")
        let digits = Array("0123456789abcdef")
        return String(out.prefix(8).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
