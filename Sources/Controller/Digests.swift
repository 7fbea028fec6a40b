import CCrypto

public enum SHA256 {
    public static func hex(_ text: String) -> String { digest(Array(text.utf8)).hex }

    public static func digest(_ bytes: [UInt8]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 32)
        let status = EVP_Digest(bytes, bytes.count, &out, nil, EVP_sha256(), nil)
        precondition(status == 1, "SHA-256 failed")
        return out
    }

    static func hmac(_ bytes: [UInt8], key: [UInt8]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 32)
        var size: UInt32 = 32
        let result = HMAC(EVP_sha256(), key, Int32(key.count), bytes, bytes.count, &out, &size)
        precondition(result != nil && size == 32, "HMAC failed")
        return out
    }
}

extension Sequence<UInt8> {
    var hex: String {
        let digits = Array("0123456789abcdef")
        return String(flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
