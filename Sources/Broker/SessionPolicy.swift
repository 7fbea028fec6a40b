import Kubernetes

/// The JSON of policies, in the words that AWS, Ceph and MinIO all understand.
public enum SessionPolicy {
    private static let read: [JSON] = ["s3:GetObject"]
    private static let write: [JSON] = [
        "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
    ]

    /// What a session may do: list and read below the prefix, and write there if it may.
    public static func allowing(_ scope: GrantScope) -> JSON {
        let bucket = "arn:\(partition(of: scope.store.roleARN)):s3:::\(scope.store.source.bucket)"
        var list: JSON = [
            "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [.string(bucket)],
        ]
        if !scope.prefix.isEmpty {
            list["Condition"] = [
                "StringLike": ["s3:prefix": [.string(scope.prefix), .string("\(scope.prefix)*")]]
            ]
        }
        return policy([
            list,
            ["Effect": "Allow", "Action": ["s3:GetBucketLocation"], "Resource": [.string(bucket)]],
            [
                "Effect": "Allow", "Action": .array(scope.access == .readWrite ? read + write : read),
                "Resource": [.string("\(bucket)/\(scope.prefix)*")],
            ],
        ])
    }

    /// For the role: nothing for the session of that name, also with keys that it has already. A session's user id is
    /// the role's id, a colon and its name.
    public static func denying(session: String) -> JSON {
        policy([
            [
                "Effect": "Deny", "Action": ["s3:*"], "Resource": ["*"],
                "Condition": ["StringLike": ["aws:userid": .string("*:\(session)")]],
            ]
        ])
    }

    private static func policy(_ statements: [JSON]) -> JSON {
        ["Version": "2012-10-17", "Statement": .array(statements)]
    }

    /// `aws`, or the name of one of Amazon's separate clouds, as in `arn:aws-cn:iam::1:role/x`.
    static func partition(of roleARN: String?) -> String {
        let parts = (roleARN ?? "").split(separator: ":", omittingEmptySubsequences: false)
        return parts.count > 1 && parts[1].hasPrefix("aws") ? String(parts[1]) : "aws"
    }
}
