import Glibc
import Logging
import NodeProtocol

/// The publications on disk: what mountinfo cannot tell after a restart. A file each, replaced as a whole; it holds no
/// secret. What is damaged is dropped with a word in the log, as the mounts themselves are found by the kernel's list.
struct PublicationJournal {
    private static let maxFileBytes = 16 << 10
    private static let suffix = ".target"

    let directory: String
    let logger: Logger

    func write(_ publication: Publication) throws(Refusal) {
        let path = file(for: publication.target)
        let temporary = path + ".new"
        let payload = publication.fields.encoded
        let bytes = Array(digest(of: payload).utf8) + payload
        let raw = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard raw >= 0 else { throw .system("write the journal \(temporary)", errno) }
        var failure: Int32 = 0
        if Glibc.write(raw, bytes, bytes.count) != bytes.count { failure = errno == 0 ? ENOSPC : errno }
        close(raw)
        if failure == 0 && rename(temporary, path) != 0 { failure = errno }
        guard failure == 0 else {
            unlink(temporary)
            throw .system("write the journal \(path)", failure)
        }
    }

    func remove(_ target: String) { unlink(file(for: target)) }

    /// Every publication that can be read.
    func read() -> [Publication] {
        guard let entries = opendir(directory) else { return [] }
        defer { closedir(entries) }
        var found: [Publication] = []
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix(".") { continue }
            let path = directory + "/" + name
            if name.hasSuffix(Self.suffix), let publication = read(path), file(for: publication.target) == path {
                found.append(publication)
            } else {
                logger.warning("dropped a damaged file of the journal", metadata: ["file": "\(path)"])
                unlink(path)
            }
        }
        return found
    }

    private func read(_ path: String) -> Publication? {
        let raw = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard raw >= 0, let bytes = try? Descriptor(raw).contents(limit: Self.maxFileBytes), bytes.count >= 32 else {
            return nil
        }
        let payload = Array(bytes.dropFirst(32))
        guard digest(of: payload).utf8.elementsEqual(bytes.prefix(32)) else { return nil }
        return try? Publication(Fields(decoding: payload))
    }

    private func file(for target: String) -> String { directory + "/" + digest(of: Array(target.utf8)) + Self.suffix }
}
