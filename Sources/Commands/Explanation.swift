import S3

/// An S3 error in a person's words, with what to do about it.
struct Explanation {
    var why: String
    var fix: String

    init(_ error: S3Error, source: SourceURL) {
        switch error {
        case .noSuchBucket:
            why = "there is no bucket \(source.bucket) at this endpoint"
            fix = "check the bucket's name, and --endpoint if it isn't on AWS"
        case .noSuchKey:
            why = "there is no such object"
            fix = "see what is there: millrace ls s3://\(source.bucket)/"
        case .denied(let code, let message):
            why = "access denied (\(code)\(message.isEmpty ? "" : ": \(message)"))"
            switch code {
            case "InvalidAccessKeyId":
                fix = "the server doesn't know this access key: check AWS_ACCESS_KEY_ID or --profile, and --endpoint"
            case "SignatureDoesNotMatch":
                fix = "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or --profile, and --region"
            case "ExpiredToken", "InvalidToken":
                fix = "get new temporary credentials (AWS_SESSION_TOKEN)"
            case "RequestTimeTooSkewed":
                fix = "set this machine's clock (timedatectl set-ntp true)"
            default:
                fix =
                    "the key needs s3:ListBucket on \(source.bucket) and s3:GetObject on its objects; "
                    + "for a public bucket use --anonymous"
            }
        case .archived:
            why = "the object is archived"
            fix = "restore it first (aws s3api restore-object)"
        case .credentials(let text):
            why = "no usable credentials: \(text)"
            fix =
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile NAME, or --anonymous for a public bucket"
        case .network(let text):
            why = "the endpoint can't be reached: \(text)"
            fix = "check --endpoint, its port and scheme (http or https), --ca-bundle, and the network"
        case .timedOut:
            why = "the endpoint did not answer in time"
            fix = "check --endpoint and the network, then try again"
        case .changed:
            why = "the object was replaced meanwhile"
            fix = "try again"
        case .badAnswer(let text):
            why = "the answer makes no sense: \(text)"
            fix = "check that --endpoint is an S3 server"
        case .status(let status, let code, let message):
            why =
                "the server answered \(status)\(code.isEmpty ? "" : " \(code)")\(message.isEmpty ? "" : ": \(message)")"
            fix =
                status == 301 || status == 307 || code == "AuthorizationHeaderMalformed"
                ? "the bucket is in another region: set --region" : "check --endpoint and --region, then try again"
        case .cancelled:
            why = "it was cancelled"
            fix = "try again"
        }
    }

    func failure(_ what: String) -> Failure { Failure(what, because: why, fix: fix) }
}
