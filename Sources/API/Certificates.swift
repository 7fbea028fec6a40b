import FoundationEssentials
import Logging
import NIOSSL
import Threads

/// The server's certificate and key, out of files that are replaced under way (as cert-manager and the kubelet do). New
/// connections get the newest pair that could be read; a pair that makes no sense leaves the last one in use.
final class Certificates: Sendable {
    private struct State {
        var context: NIOSSLContext
        var content: [Data]
        var lookedAt: Instant
    }

    private let certificateFile: String
    private let keyFile: String
    private let lookMs: Int
    private let logger: Logger
    private let state: Locked<State>

    /// - Parameter lookMs: between two looks at the files.
    init(certificateFile: String, keyFile: String, lookMs: Int = 10_000, logger: Logger) throws {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.lookMs = lookMs
        self.logger = logger
        let content = try Self.read(certificateFile, keyFile)
        state = Locked(State(context: try Self.context(content), content: content, lookedAt: .now))
    }

    var current: NIOSSLContext {
        state.withLock { state in
            guard Instant.now.ms(since: state.lookedAt) >= Double(lookMs) else { return state.context }
            state.lookedAt = .now
            do {
                let content = try Self.read(certificateFile, keyFile)
                if content != state.content {
                    state.context = try Self.context(content)
                    state.content = content
                    logger.notice("the API's certificate was replaced")
                }
            } catch {
                logger.error(
                    "the API's new certificate can't be used; the last one is", metadata: ["error": "\(error)"])
            }
            return state.context
        }
    }

    private static func read(_ files: String...) throws -> [Data] {
        try files.map { file in
            do { return try Data(contentsOf: URL(filePath: file)) } catch { throw CertificateError(file: file) }
        }
    }

    private static func context(_ content: [Data]) throws -> NIOSSLContext {
        let chain = try NIOSSLCertificate.fromPEMBytes([UInt8](content[0]))
        let key = try NIOSSLPrivateKey(bytes: [UInt8](content[1]), format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }
}

struct CertificateError: Error, CustomStringConvertible {
    var file: String
    var description: String { "\(file) can't be read" }
}
