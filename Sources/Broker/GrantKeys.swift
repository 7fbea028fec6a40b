import Controller
import Kubernetes

import struct S3.Credentials

/// What a Secret of minted keys holds, and under which names.
public enum GrantKeys {
    /// What there is to hold. The first five are written under these names where a grant names none: a Dataset takes
    /// such a Secret as its `secretRef`.
    public static let fields = [
        "accessKeyID", "secretAccessKey", "sessionToken", "endpoint", "region", "bucket", "prefix", "expiration",
    ]
    private static let always = Set(fields.prefix(5))

    /// What is wrong with a grant's `keys`, or nil.
    public static func problem(_ keys: [String: String]?) -> String? {
        guard let keys else { return nil }
        for (field, name) in keys.sorted(by: { $0.key < $1.key }) {
            guard fields.contains(field) else {
                return "keys has \"\(field.prefix(60))\"; known are \(fields.joined(separator: ", "))"
            }
            let isName =
                !name.isEmpty && name.utf8.count <= 253
                && name.utf8.allSatisfy {
                    (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                        || [0x2d, 0x2e, 0x5f].contains($0)
                }
            guard isName else {
                return "keys.\(field) is \"\(name.prefix(60))\"; a Secret's key has letters, digits, '-', '_' and '.'"
            }
        }
        let names = fields.compactMap { keys[$0] ?? (always.contains($0) ? $0 : nil) }
        guard Set(names).count == names.count else { return "keys has one name twice" }
        return nil
    }

    /// The fields' values by the names that they are to have.
    public static func named(_ values: [String: String], _ keys: [String: String]?) -> [String: String] {
        var data: [String: String] = [:]
        for field in fields {
            guard let value = values[field], !value.isEmpty else { continue }
            if let name = keys?[field] { data[name] = value } else if always.contains(field) { data[field] = value }
        }
        return data
    }

    /// The fields of keys that were minted for a scope.
    public static func values(_ credentials: Credentials, _ scope: GrantScope) -> [String: String] {
        var values = [
            "accessKeyID": credentials.accessKeyID, "secretAccessKey": credentials.secretAccessKey.reveal(),
            "region": scope.store.region, "bucket": scope.store.source.bucket, "prefix": scope.prefix,
        ]
        values["sessionToken"] = credentials.sessionToken?.reveal()
        values["endpoint"] = scope.store.source.endpoint
        values["expiration"] = credentials.expires.map(Timestamp.at)
        return values
    }
}
