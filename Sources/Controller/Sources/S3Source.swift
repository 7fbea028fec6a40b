extension Dataset.S3Source: DatasetSource {
    public static let name = "s3"

    public var asS3: Dataset.S3Source? { self }

    public var addresses: [(field: String, url: String)] {
        [("endpoint", endpoint), ("stsEndpoint", stsEndpoint)].compactMap { field, url in url.map { (field, $0) } }
    }

    /// Also said of a StorageClass's parameters.
    public var problem: String? {
        if bucket.isEmpty || bucket.utf8.count > 128 || bucket.contains("/") || bucket.contains("..") {
            return "bucket is \"\(bucket)\"; it must be a bucket's name"
        }
        if let prefix, let problem = subPathProblem(prefix) { return "prefix is \"\(prefix)\": \(problem)" }
        return endpoint.flatMap { urlProblem($0) }.map { "endpoint \($0)" }
    }

    public func attributes(subPath: String?) -> [String: String] {
        var attributes = ["bucket": bucket, "prefix": Self.directory(prefix, subPath)]
        attributes["endpoint"] = endpoint
        attributes["region"] = region
        attributes["pathStyle"] = pathStyle.map { String($0) }
        attributes["anonymous"] = anonymous.map { String($0) }
        attributes["requesterPays"] = requesterPays.map { String($0) }
        attributes["caBundle"] = caBundle
        attributes["roleARN"] = roleARN
        attributes["stsEndpoint"] = stsEndpoint
        return attributes
    }
}
