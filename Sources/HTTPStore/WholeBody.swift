import Curl
import Glibc
import S3
import Threads

/// Bodies of a server that has no ranges, each fetched once and kept in an unlinked file.
final class WholeBodies: @unchecked Sendable {
    private let directory: String
    private let maxBytes: UInt64
    private let lock = Lock()
    /// By URL; the one used last is the last. Under the lock.
    private var bodies: [(url: String, body: WholeBody)] = []

    init(directory: String, maxBytes: UInt64) {
        self.directory = directory
        self.maxBytes = maxBytes
    }

    /// A body of this version that is there or on its way.
    func known(_ url: String, tag: String?) -> WholeBody? {
        lock.withLock {
            guard let i = bodies.firstIndex(where: { $0.url == url }), !bodies[i].body.hasFailed,
                tag.map({ bodies[i].body.version.matches($0) }) ?? true
            else { return nil }
            bodies.append(bodies.remove(at: i))
            return bodies.last?.body
        }
    }

    /// The body that takes what comes now; not first: another is being filled with the same version.
    func begin(_ address: WebAddress, _ version: FileVersion, _ client: WebClient) -> (body: WholeBody, isFirst: Bool) {
        lock.withLock {
            if let i = bodies.firstIndex(where: { $0.url == address.text }) {
                if bodies[i].body.version == version, !bodies[i].body.hasFailed { return (bodies[i].body, false) }
                bodies.remove(at: i)
            }
            let body = WholeBody(version, directory: directory, mayKeep: version.size <= maxBytes)
            bodies.append((address.text, body))
            // Files go with the last who reads them.
            while bodies.reduce(0, { $0 + $1.body.version.size }) > maxBytes, bodies.count > 1 { bodies.removeFirst() }
            return (body, true)
        }
    }
}

/// One body on its way into a file, and the reads that wait for their part of it.
final class WholeBody: @unchecked Sendable {
    let version: FileVersion
    private let descriptor: Int32
    private let lock = Lock()
    // Under the lock.
    private var written: UInt64 = 0
    private var waiting: [(range: Range<UInt64>, read: FileRead)] = []
    private var failure: S3Error?

    private static let pieceBytes = 1 << 20

    init(_ version: FileVersion, directory: String, mayKeep: Bool) {
        self.version = version
        descriptor = mayKeep ? Self.unnamedFile(in: directory) : -1
        if !mayKeep {
            failure = .badAnswer(
                "the server has no ranges, and the file of \(version.size) bytes is too large to be kept whole")
        } else if descriptor < 0 {
            failure = .badAnswer("the server has no ranges, and no file can be made in \(directory): \(errno)")
        }
    }

    private static func unnamedFile(in directory: String) -> Int32 {
        var template = Array("\(directory)/.millrace-spool-XXXXXX".utf8CString)
        let descriptor = template.withUnsafeMutableBufferPointer { mkstemp($0.baseAddress!) }
        if descriptor >= 0 {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = template.withUnsafeBufferPointer { unlink($0.baseAddress!) }
        }
        return descriptor
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    var hasFailed: Bool { lock.withLock { failure != nil } }

    /// Gives the read its bytes once they are there.
    func read(_ range: Range<UInt64>, _ read: FileRead) {
        let (isThere, failure) = lock.withLock { () -> (Bool, S3Error?) in
            if self.failure == nil, written < range.upperBound { waiting.append((range, read)) }
            return (written >= range.upperBound, self.failure)
        }
        if isThere { deliver(range, read) } else if let failure { read.bodyFailed(failure) }
    }

    func received(_ bytes: UnsafeRawBufferPointer) {
        var done = 0
        while done < bytes.count, !hasFailed {
            let count = pwrite(
                descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(lock.withLock { written }))
            if count < 0 {
                if errno == EINTR { continue }
                return fail(.badAnswer("the file can't be kept: errno \(errno)"))
            }
            done += count
            let ready = lock.withLock {
                written += UInt64(count)
                let ready = waiting.filter { $0.range.upperBound <= written }
                waiting.removeAll { $0.range.upperBound <= written }
                return ready
            }
            for (range, read) in ready { deliver(range, read) }
        }
    }

    func ended(_ result: Result<HTTPResponse, HTTPError>) {
        if lock.withLock({ written == version.size && failure == nil }) { return }
        switch result {
        case .success: fail(.network("the answer ended early"))
        case .failure(let error): fail(S3Error(error))
        }
    }

    /// The reads that wait try again, from the beginning.
    private func fail(_ error: S3Error) {
        let reads = lock.withLock {
            failure = failure ?? error
            defer { waiting = [] }
            return waiting
        }
        for (_, read) in reads { read.bodyFailed(error) }
    }

    private func deliver(_ range: Range<UInt64>, _ read: FileRead) {
        var buffer = [UInt8](repeating: 0, count: min(Self.pieceBytes, range.count))
        var at = range.lowerBound
        while at < range.upperBound, read.isWanted {
            let wanted = Int(min(UInt64(buffer.count), range.upperBound - at))
            let count = pread(descriptor, &buffer, wanted, off_t(at))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return read.end(.failure(.badAnswer("the kept file can't be read"))) }
            buffer.withUnsafeBytes { read.received(UnsafeRawBufferPointer(rebasing: $0[..<count]), at: at) }
            at += UInt64(count)
        }
        read.end(.success(version.metadata))
    }
}
