extension Dataset {
    /// A branch or commit of a Pachyderm repository, read through its S3 gateway. The Secret has the session's token,
    /// which the gateway takes for both keys.
    public struct PachydermSource: DatasetSource {
        public static let name = "pachyderm"

        /// The gateway's URL, as `http://pachd.pachyderm:30600`.
        public var endpoint: String
        public var repo: String
        /// Default: master.
        public var branch: String?
        /// A commit of the branch, whose files never change; left out: the branch's newest.
        public var commit: String?
        /// Left out: the gateway's default project.
        public var project: String?
        /// Only this directory of the repository.
        public var path: String?
        public var caBundle: String?

        public init(endpoint: String, repo: String) {
            self.endpoint = endpoint
            self.repo = repo
        }

        /// As the gateway names its buckets: `[COMMIT.]BRANCH.REPO[.PROJECT]`.
        public var bucketName: String {
            [commit, branch ?? "master", repo, project].compactMap { $0 }.joined(separator: ".")
        }

        public var asS3: Dataset.S3Source? {
            var s3 = Dataset.S3Source(bucket: bucketName)
            s3.endpoint = endpoint
            s3.prefix = path
            s3.pathStyle = true
            s3.caBundle = caBundle
            return s3
        }

        public var addresses: [(field: String, url: String)] { [("endpoint", endpoint)] }

        public var problem: String? {
            let parts = [("repo", repo), ("branch", branch), ("commit", commit), ("project", project)]
            for (field, value) in parts {
                guard let value else { continue }
                let isName = value.utf8.allSatisfy { byte in
                    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                        || byte == 0x2d || byte == 0x5f
                }
                // A dot would move the parts of the bucket's name.
                guard !value.isEmpty, isName else {
                    return "\(field) is \"\(value)\"; it must be a name of letters, digits, - and _"
                }
            }
            if let path, let problem = subPathProblem(path) { return "path is \"\(path)\": \(problem)" }
            return urlProblem(endpoint).map { "endpoint \($0)" }
        }

        public func attributes(subPath: String?) -> [String: String] {
            var attributes = asS3?.attributes(subPath: subPath) ?? [:]
            // What a commit has stays so.
            if commit != nil { attributes["immutable"] = "true" }
            return attributes
        }
    }
}
