import CCurl

/// How a transfer reaches its server: limits, TLS and proxy. Transfers with equal settings share connections.
public struct ConnectionOptions: Sendable {
    public enum Proxy: Sendable, Equatable {
        /// http_proxy, https_proxy and no_proxy, as curl reads them.
        case environment
        case none
        /// "http://user:password@host:port", also socks5h://.
        case url(String)
    }

    public var connectTimeoutMs = 10_000
    public var proxy = Proxy.environment
    /// Certificate authorities, in PEM; both nil: the system's.
    public var caFile: String?
    public var caPEM: [UInt8]?
    /// The client's own certificate (chain) and key for mTLS, in PEM.
    public var clientCertificatePEM: [UInt8]?
    public var clientKeyPEM: [UInt8]?
    /// For tests and for clusters whose owner said so: TLS without a check of the certificate.
    public var skipsVerification = false
    /// Connect here whatever the URL says.
    public var unixSocketPath: String?
    /// Bytes that are read from a socket at a time.
    public var bufferBytes = 64 << 10
    /// For URLs that somebody else gave: the addresses that may be reached. Nil: all. With a proxy it is the proxy's
    /// address that counts, so give `.none` for one as well. Connections are shared with transfers of the same host on
    /// the same thread: give such URLs a thread of their own.
    public var addresses: AddressPolicy?

    public init() {}

    public func apply(to easy: Easy) {
        easy.set(CURLOPT_CONNECTTIMEOUT_MS, connectTimeoutMs)
        easy.set(CURLOPT_BUFFERSIZE, bufferBytes)
        switch proxy {
        case .environment: break
        case .none: easy.set(CURLOPT_PROXY, "")
        case .url(let url): easy.set(CURLOPT_PROXY, url)
        }
        if let caFile { easy.set(CURLOPT_CAINFO, caFile) }
        if let caPEM { easy.set(CURLOPT_CAINFO_BLOB, blob: caPEM) }
        if let clientCertificatePEM { easy.set(CURLOPT_SSLCERT_BLOB, blob: clientCertificatePEM) }
        if let clientKeyPEM { easy.set(CURLOPT_SSLKEY_BLOB, blob: clientKeyPEM) }
        if skipsVerification {
            easy.set(CURLOPT_SSL_VERIFYPEER, 0)
            easy.set(CURLOPT_SSL_VERIFYHOST, 0)
        }
        if let addresses { easy.limit(to: addresses) }
        if let unixSocketPath { easy.set(CURLOPT_UNIX_SOCKET_PATH, unixSocketPath) }
    }
}
