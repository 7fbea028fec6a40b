import Kubernetes

extension Dataset {
    /// A directory that an NFS server exports. Its volumes are Kubernetes' own NFS volumes: the node plugin has no part.
    public struct NFSSource: DatasetSource {
        public static let name = "nfs"

        /// A name or an address.
        public var server: String
        /// Absolute.
        public var path: String
        /// As mount(8) takes them, like `nfsvers=4.1`.
        public var mountOptions: [String]?

        public init(server: String, path: String) {
            self.server = server
            self.path = path
        }

        public var asS3: Dataset.S3Source? { nil }

        public var addresses: [(field: String, url: String)] {
            [("server", "http://\(server.contains(":") ? "[\(server)]" : server)")]
        }

        public var problem: String? {
            let isHost = server.utf8.allSatisfy {
                (0x30...0x3a).contains($0) || (0x61...0x7a).contains($0 | 0x20) || $0 == 0x2d || $0 == 0x2e
            }
            if server.isEmpty || !isHost { return "server is \"\(server)\"; it must be a host's name or address" }
            guard path.hasPrefix("/") else { return "path is \"\(path)\"; it must begin with a slash" }
            if path != "/", let problem = subPathProblem(String(path.dropFirst())) {
                return "path is \"\(path)\": \(problem)"
            }
            // Kubernetes puts its own `ro` anywhere among the options, and the last one counts.
            let refused = ["rw", "suid", "dev"]
            for option in mountOptions ?? []
            where option.split(separator: ",").contains(where: { refused.contains(String($0)) }) {
                return "mountOptions has \(option), which isn't allowed; remove it"
            }
            return nil
        }

        public func attributes(subPath: String?) -> [String: String] {
            [
                "nfsServer": server, "nfsPath": path(below: subPath),
                "nfsOptions": (mountOptions ?? []).joined(separator: ","),
            ]
        }

        func path(below subPath: String?) -> String {
            let directory = Self.directory(path, subPath)
            return directory == "/" ? directory : String(directory.dropLast(directory.hasSuffix("/") ? 1 : 0))
        }

        /// Where NFS listens, by the option that mount(8) takes.
        var port: Int {
            (mountOptions ?? []).compactMap { $0.hasPrefix("port=") ? Int($0.dropFirst(5)) : nil }.last ?? 2049
        }

        /// Makes a volume show the directory, to read only.
        func fill(_ spec: inout PersistentVolume.Spec, subPath: String?) {
            spec.nfs = PersistentVolume.NFSVolumeSource(server: server, path: path(below: subPath), readOnly: true)
            spec.mountOptions = ["nodev", "nosuid"] + (mountOptions ?? [])
        }

        /// One look at the server.
        func look(subPath: String?) async -> NFSProbe.Outcome {
            await NFSProbe.check(server: server, path: path(below: subPath), port: port)
        }
    }
}
