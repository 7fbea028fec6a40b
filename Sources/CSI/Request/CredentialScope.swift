import CCrypto
import NodeProtocol

extension SessionCredentials {
    /// A digest of whom the credentials belong to. Volumes share sessions and cached bytes within a scope only, so
    /// where the owner is not known for sure, it is the keys themselves.
    func scope(for attributes: VolumeAttributes) -> String {
        let parts: [String]
        switch self {
        case .anonymous: parts = ["anonymous"]
        case .keys(let id, let secret, _): parts = ["keys", id, secret.exposed]
        case .headers(let lines): parts = ["headers"] + lines.map(\.exposed)
        case .webIdentity(let role, _):
            // The token changes every hour, whom it stands for does not; Kubernetes vouches for both names.
            parts = ["web", role, attributes.podNamespace ?? "", attributes.serviceAccount ?? ""]
        }
        var bytes: [UInt8] = []
        for part in parts {
            // Lengths keep ("a", "bc") and ("ab", "c") apart.
            bytes += Array("\(part.utf8.count):".utf8) + Array(part.utf8)
        }
        return CSI.digest(of: bytes)
    }

    /// A digest of all of it, the parts that are renewed too.
    var digest: String {
        let parts: [String] =
            switch self {
            case .anonymous: []
            case .keys(let id, let secret, let token): [id, secret.exposed, token?.exposed ?? ""]
            case .webIdentity(let role, let token): [role, token.exposed]
            case .headers(let lines): lines.map(\.exposed)
            }
        return CSI.digest(of: parts.flatMap { Array("\($0.utf8.count):".utf8) + Array($0.utf8) })
    }
}

/// SHA-256, its first 16 bytes in hex.
func digest(of bytes: [UInt8]) -> String {
    var hash = [UInt8](repeating: 0, count: 32)
    let status = EVP_Digest(bytes, bytes.count, &hash, nil, EVP_sha256(), nil)
    precondition(status == 1, "SHA-256 failed")
    return hash.prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
