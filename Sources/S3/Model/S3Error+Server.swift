extension S3Error {
    /// What an answer with an error's status means.
    init(_ error: ServerError, _ operation: OperationName) {
        let code = error.code
        switch (error.status, code) {
        case (_, "NoSuchBucket"): self = .noSuchBucket
        case (_, "NoSuchKey"), (_, "NoSuchVersion"): self = .noSuchKey
        case (404, _) where operation == .list || operation == .headBucket: self = .noSuchBucket
        // A HEAD's answer has no code.
        case (404, _): self = .noSuchKey
        case (412, _), (416, _): self = .changed
        case (_, "InvalidObjectState"): self = .archived
        case (401, _), (403, _): self = .denied(code: code.isEmpty ? "AccessDenied" : code, message: error.message)
        // Keys of KMS that are disabled, deleted or not ours; tokens that are no use.
        case (_, _) where code.hasPrefix("KMS.") || Self.isCredentialsCode(code):
            self = .denied(code: code, message: error.message)
        case (301, _), (302, _), (307, _), (308, _):
            self = .status(
                error.status, code: code.isEmpty ? "Redirect" : code,
                message: "the bucket is elsewhere; give its region or its endpoint")
        default: self = .status(error.status, code: code, message: error.message)
        }
    }

    private static func isCredentialsCode(_ code: String) -> Bool {
        ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"]
            .contains(code)
    }
}
