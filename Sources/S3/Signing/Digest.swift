import CCrypto

/// SHA-256 and HMAC-SHA256 over libcrypto.
enum Digest {
    static let byteCount = 32
    /// SHA-256 of nothing, in hex: the payload hash of requests without a body.
    static let emptyHex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { out, count in
            let status = bytes.withUnsafeBytes {
                EVP_Digest($0.baseAddress, $0.count, out.baseAddress, nil, EVP_sha256(), nil)
            }
            precondition(status == 1, "SHA-256 failed")
            count = byteCount
        }
    }

    static func hmac(key: [UInt8], _ bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { out, count in
            let result = HMAC(EVP_sha256(), key, Int32(key.count), bytes, bytes.count, out.baseAddress, nil)
            precondition(result != nil, "HMAC-SHA256 failed")
            count = byteCount
        }
    }

    static func hex(_ bytes: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { out in
            let digits: StaticString = "0123456789abcdef"
            for (i, byte) in bytes.enumerated() {
                out[2 * i] = digits.utf8Start[Int(byte >> 4)]
                out[2 * i + 1] = digits.utf8Start[Int(byte & 15)]
            }
            return bytes.count * 2
        }
    }
}
