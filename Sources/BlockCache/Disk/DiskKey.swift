import CCrypto

/// What a file of the disk cache holds: one version of one object, as one authorization scope may read it.
public typealias DiskKey = FileVersionKey

extension FileVersionKey {
    /// SHA-256 of all fields, each with its length before it, so that no two keys are spelled alike.
    var digest: DiskDigest {
        var bytes: [UInt8] = []
        func append(_ field: some Collection<UInt8>) {
            withUnsafeBytes(of: UInt64(field.count).littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: field)
        }
        append(scope.utf8)
        append(bucket.utf8)
        append(key.bytes)
        append(etag.utf8)
        bytes.append(versionID == nil ? 0 : 1)
        append((versionID ?? "").utf8)
        withUnsafeBytes(of: size.littleEndian) { bytes.append(contentsOf: $0) }

        var digest = DiskDigest()
        let status = withUnsafeMutableBytes(of: &digest) { out in
            EVP_Digest(bytes, bytes.count, out.baseAddress?.assumingMemoryBound(to: UInt8.self), nil, EVP_sha256(), nil)
        }
        precondition(status == 1, "SHA-256 failed")
        return digest
    }
}

/// A SHA-256, held inline: the index has one for each file.
struct DiskDigest: Hashable, Sendable {
    var a: UInt64 = 0, b: UInt64 = 0, c: UInt64 = 0, d: UInt64 = 0

    /// 64 hexadecimal digits: the data file's name.
    var name: String {
        let digits = Array("0123456789abcdef".utf8)
        return withUnsafeBytes(of: self) { bytes in
            String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
        }
    }

    init() {}

    /// From `name`; nil for any other text.
    init?(name: some Collection<UInt8>) {
        guard name.count == 64 else { return nil }
        var digits = name.makeIterator()
        func digit() -> UInt8? {
            switch digits.next() {
            case .some(let c) where c >= 0x30 && c <= 0x39: c - 0x30
            case .some(let c) where c >= 0x61 && c <= 0x66: c - 0x61 + 10
            default: nil
            }
        }
        let isName = withUnsafeMutableBytes(of: &self) { bytes in
            for i in 0..<32 {
                guard let high = digit(), let low = digit() else { return false }
                bytes[i] = high << 4 | low
            }
            return true
        }
        guard isName else { return nil }
    }
}
