import Glibc

/// The secret key of volume ids.
public enum VolumeKey {
    /// From a file, or one that is made beside the CSI socket so that ids stay valid over restarts. Without either a key
    /// of this process alone: Kubernetes' volumes don't need their ids to be read again.
    public static func load(file: String?, besides endpoint: String?) throws -> [UInt8] {
        if let file {
            let key = try read(file)
            guard key.count >= 16 else {
                throw EndpointProblem(description: "--volume-key-file \(file) has fewer than 16 bytes")
            }
            return key
        }
        guard let endpoint, let slash = endpoint.lastIndex(of: "/") else { return fresh() }
        var path = String(endpoint[...slash]) + "millrace-volume.key"
        if path.hasPrefix("unix://") { path.removeFirst("unix://".count) }
        if let key = try? read(path), key.count >= 16 { return key }
        let key = fresh()
        // Written beside and renamed, so that a crash leaves no half of a key.
        let draft = "\(path).\(getpid())"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return key }
        let isWritten = write(descriptor, key, key.count) == key.count
        close(descriptor)
        if !isWritten || rename(draft, path) != 0 { unlink(draft) }
        return key
    }

    private static func fresh() -> [UInt8] { (0..<32).map { _ in UInt8.random(in: 0...255) } }

    private static func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw EndpointProblem(description: "--volume-key-file \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count > 0 ? Array(bytes[..<count]) : []
    }
}
