/// The names under which people keep S3 keys in a Kubernetes Secret, ours first; and what some keep beside them.
public enum KeySpellings {
    public static let accessKeyID = ["accessKeyID", "accessKeyId", "awsAccessKeyID", "AWS_ACCESS_KEY_ID", "key_id"]
    public static let secretAccessKey = [
        "secretAccessKey", "secretKey", "awsSecretAccessKey", "AWS_SECRET_ACCESS_KEY", "access_key",
    ]
    public static let sessionToken = ["sessionToken", "awsSessionToken", "AWS_SESSION_TOKEN", "session_token"]
    public static let endpoint = ["endpoint", "AWS_ENDPOINT_URL"]
    public static let region = ["region", "AWS_REGION", "AWS_DEFAULT_REGION"]
}
