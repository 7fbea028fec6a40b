extension Dataset {
    /// Files of a web server.
    public struct HTTPSource: DatasetSource {
        public static let name = "http"

        /// An index of files where it ends in a slash, else a text file with one URL in each line.
        public var url: String?
        /// The lines of such a file: `URL [path]`.
        public var urls: [String]?
        /// Certificate authorities of the server, PEM.
        public var caBundle: String?

        public init(url: String? = nil, urls: [String]? = nil) {
            self.url = url
            self.urls = urls
        }

        public var asS3: Dataset.S3Source? { nil }

        public var addresses: [(field: String, url: String)] {
            (url.map { [("url", $0)] } ?? [])
                + (urls ?? []).enumerated().map { ("urls[\($0)]", String($1.prefix { $0 != " " })) }
        }

        public var problem: String? {
            guard (url == nil) != (urls?.isEmpty ?? true) else {
                return "url or urls must be set, and only one of them"
            }
            for (field, url) in addresses { if let problem = urlProblem(url) { return "\(field) \(problem)" } }
            return nil
        }

        public func attributes(subPath: String?) -> [String: String] {
            var attributes: [String: String] = [:]
            if let url {
                // A list has no directories that could be asked for alone; all of it is shown.
                attributes["url"] = url.hasSuffix("/") ? Self.directory(url, subPath) : url
            }
            attributes["urls"] = urls.map { $0.joined(separator: "\n") }
            attributes["caBundle"] = caBundle
            return attributes
        }
    }
}
