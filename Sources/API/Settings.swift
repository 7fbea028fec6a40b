import Controller

/// How the API listens and what it lets through.
public struct APISettings: Sendable {
    public struct Listener: Sendable, Equatable {
        public var address: String
        /// 0: a free one.
        public var port: Int
        public init(address: String, port: Int) {
            self.address = address
            self.port = port
        }
    }

    /// With resources under /v1 and PVCi's routes; nil: doesn't listen.
    public var listener: Listener?
    /// PVCi's routes alone, in PVCi's own shapes.
    public var compat: Listener?
    /// Who a request on `compat` without a token is; nil: nobody, so that it is refused.
    public var compatUser: String?
    /// PEM files of the certificate (chain) and its key, read again when they change; nil: no TLS.
    public var certificateFile: String?
    public var keyFile: String?
    /// Audiences of which a token must have one; empty: the API server's.
    public var audiences: [String] = []

    /// PVCi's word for how talkative it is: release or debug. It is only told.
    public var mode = "release"
    public var version = "0.1.0"
    public var driver = Names.defaultDriver
    /// Part by which a copy's claim is larger than its objects, in percent.
    public var overagePercent = 25
    /// From the first byte of a request, or the end of the last one, to its end.
    public var readTimeoutSeconds = 30
    /// From the end of a request to the end of its answer.
    public var writeTimeoutSeconds = 120

    public var mostBodyBytes = 256 << 10
    public var mostHeaderBytes = 16 << 10
    public var mostConnections = 512
    public var mostRequests = 64
    /// Listings of buckets at a time.
    public var mostCounts = 8
    public var countSeconds = 90
    /// Creations that go on after their answer.
    public var mostBackground = 64
    public var requestsPerSecond = 20.0
    public var burst = 60.0

    public var addresses = AddressPolicy()

    public init() {}
}

extension APISettings {
    /// PVCi's environment: where its names are set, the compat listener opens where PVCi would.
    public static let environmentNames = [
        "IP", "PORT", "METRICS_PORT", "MODE", "HTTP_READ_TIMEOUT", "HTTP_WRITE_TIMEOUT", "VOLUME_OVERAGE_PCT",
    ]

    /// - Returns: where metrics are served, as PVCi's names say it; nil: they don't.
    public mutating func read(environment: [String: String]) throws(Refusal) -> Listener? {
        func number(_ name: String, _ range: ClosedRange<Int>) throws(Refusal) -> Int? {
            guard let text = environment[name], !text.isEmpty else { return nil }
            guard let value = Int(text), range.contains(value) else {
                throw Refusal(
                    "BadEnvironment",
                    "environment \(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        let ip = environment["IP"].flatMap { $0.isEmpty ? nil : $0 }
        let port = try number("PORT", 0...65535)
        if compat == nil, ip != nil || port != nil {
            compat = Listener(address: ip ?? "127.0.0.1", port: port ?? 8070)
        }
        if let text = environment["MODE"], !text.isEmpty {
            guard text == "release" || text == "debug" else {
                throw Refusal("BadEnvironment", "environment MODE must be release or debug")
            }
            mode = text
        }
        readTimeoutSeconds = try number("HTTP_READ_TIMEOUT", 1...3600) ?? readTimeoutSeconds
        writeTimeoutSeconds = try number("HTTP_WRITE_TIMEOUT", 1...3600) ?? writeTimeoutSeconds
        overagePercent = try number("VOLUME_OVERAGE_PCT", 0...10_000) ?? overagePercent
        let metrics = try number("METRICS_PORT", 0...65535)
        guard metrics != nil || (ip != nil || port != nil) else { return nil }
        return Listener(address: ip ?? "127.0.0.1", port: metrics ?? 2112)
    }
}
