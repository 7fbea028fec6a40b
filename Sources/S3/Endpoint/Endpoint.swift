import Curl

/// Where a bucket is reached, and the region that requests are signed for.
public struct Endpoint: Sendable, Equatable {
    public enum Addressing: String, Sendable {
        /// https://host/bucket/key
        case path
        /// https://bucket.host/key
        case virtualHost = "virtual"
    }

    public var isSecure: Bool
    /// A name, an IPv4 address, or an IPv6 address in brackets; in lower case.
    public var host: String
    /// Nil: the scheme's own.
    public var port: Int?
    /// "" or "/some/path", before the bucket.
    public var basePath: String
    public var region: String
    /// Nil: virtual host on AWS where the bucket's name allows it, else path.
    public var addressing: Addressing?
    /// The host follows from the region, so a redirect to another region changes it.
    public var isAWS: Bool

    /// AWS's own endpoint of a region.
    public static func aws(region: String, addressing: Addressing? = nil) -> Endpoint {
        var endpoint = Endpoint(
            isSecure: true, host: "", port: nil, basePath: "", region: region, addressing: addressing, isAWS: true)
        endpoint.setRegion(region)
        return endpoint
    }

    /// "https://host[:port][/path]", or without the scheme, which is https then.
    public init(url: String, region: String = "us-east-1", addressing: Addressing? = nil) throws(EndpointError) {
        let parts = try URLParts(url)
        self.init(
            isSecure: parts.isSecure, host: parts.host, port: parts.port, basePath: parts.path, region: region,
            addressing: addressing, isAWS: false)
    }

    init(
        isSecure: Bool, host: String, port: Int?, basePath: String, region: String, addressing: Addressing?, isAWS: Bool
    ) {
        self.isSecure = isSecure
        self.host = host
        self.port = port
        self.basePath = basePath
        self.region = region
        self.addressing = addressing
        self.isAWS = isAWS
    }

    /// Signs for another region; AWS's host moves along.
    public mutating func setRegion(_ region: String) {
        self.region = region
        if isAWS { host = "s3.\(region).\(Self.awsDomain(region: region))" }
    }

    /// Letters, digits, "-" and "_", as the regions of all servers have.
    package static func isRegion(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { HeaderLine.lower($0).isLowerLetterOrDigit || $0 == 0x2D || $0 == 0x5F }
    }

    static func awsDomain(region: String) -> String {
        region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
    }

    /// The host (with port where it is not the scheme's own) and path of a key in a bucket, percent-encoded. Any bytes
    /// can be a key; "//", "." and ".." are kept.
    public func locate(bucket: String, key: ObjectKey?) -> (host: String, path: String) {
        var path = Array(basePath.utf8)
        var host = host
        if usesVirtualHost(bucket: bucket) {
            host = "\(bucket).\(host)"
        } else {
            path.append(UInt8(ascii: "/"))
            PercentEncoding.append(bucket.utf8, to: &path, keepsSlash: false)
        }
        if let key {
            path.append(UInt8(ascii: "/"))
            PercentEncoding.append(key.bytes, to: &path, keepsSlash: true)
        } else if usesVirtualHost(bucket: bucket) {
            path.append(UInt8(ascii: "/"))
        }
        if let port, port != (isSecure ? 443 : 80) { host += ":\(port)" }
        return (host, String(decoding: path, as: UTF8.self))
    }

    public func usesVirtualHost(bucket: String) -> Bool {
        switch addressing {
        case .path: false
        case .virtualHost: true
        // A dot in the bucket's name would not match the wildcard certificate.
        case nil: isAWS && BucketName.isHostLabel(bucket)
        }
    }

    public var scheme: String { isSecure ? "https" : "http" }
}

extension Endpoint: CustomStringConvertible {
    public var description: String { "\(scheme)://\(host)\(port.map { ":\($0)" } ?? "")\(basePath)" }
}

/// What is wrong with an endpoint's URL, and what it should be.
public struct EndpointError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
}

public enum BucketName {
    /// Nil where it can be a bucket, else what is wrong with it. Older and other servers' buckets may have upper case
    /// and underscores.
    public static func problem(_ name: String) -> String? {
        guard (3...255).contains(name.utf8.count) || (!name.isEmpty && name.utf8.count < 3) else {
            return "a bucket's name has 3 to 63 bytes"
        }
        for byte in name.utf8 {
            let isFine = HeaderLine.lower(byte).isLowerLetterOrDigit || [0x2D, 0x2E, 0x5F].contains(byte)
            if !isFine { return "a bucket's name has only letters, digits, \"-\", \".\" and \"_\"" }
        }
        return name == "." || name == ".." ? "\"\(name)\" can't be a bucket's name" : nil
    }

    /// Can be a single label of a host name.
    static func isHostLabel(_ name: String) -> Bool {
        (3...63).contains(name.utf8.count) && name.utf8.allSatisfy { $0.isLowerLetterOrDigit || $0 == 0x2D }
            && name.utf8.first != 0x2D && name.utf8.last != 0x2D
    }
}

extension UInt8 {
    var isLowerLetterOrDigit: Bool { (0x61...0x7A).contains(self) || (0x30...0x39).contains(self) }
}
