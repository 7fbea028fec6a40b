import Curl

/// One bucket, how it is reached, and the limits of its client.
public struct S3Configuration: Sendable {
    public var bucket: String
    public var endpoint: Endpoint
    public var credentials: any CredentialsSource
    /// The caller pays for requests and traffic.
    public var requesterPays = false
    /// Certificate authorities, proxy.
    public var connection = ConnectionOptions()
    /// Requests under way at a time; the others wait, by priority.
    public var maxConnections = 64
    /// From the call to the end, retries and waiting included. Ranged reads get the time of their bytes at
    /// `minBytesPerSecond` on top.
    public var requestTimeoutMs = 60_000
    /// A transfer of which nothing, or less than `minBytesPerSecond`, has come for so long is started anew.
    public var stallTimeoutMs = 5_000
    public var minBytesPerSecond = 16 << 10
    /// Sends a demanded GET a second time where its first byte is late; at most one in twenty.
    public var hedges = true
    public var retry = RetryPolicy()

    public init(bucket: String, endpoint: Endpoint, credentials: any CredentialsSource) {
        self.bucket = bucket
        self.endpoint = endpoint
        self.credentials = credentials
        // Measured on loopback: 64 KiB costs a fifth more CPU for each byte, and more than 256 KiB gains nothing.
        connection.bufferBytes = 256 << 10
    }
}
