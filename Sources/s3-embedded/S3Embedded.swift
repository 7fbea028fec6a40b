import ArgumentParser
import Glibc
import TestSupport
import Threads

/// Serves a directory, or a made-up dataset, as an S3 bucket on loopback. For demos and tests: it holds what is
/// written to it in memory, and misbehaves on command (`/__control`, see TestSupport's Control.swift).
@main
struct S3Embedded: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "s3-embedded",
        abstract: "An S3 server on loopback, for demos and tests.",
        discussion: """
            Prints one line, "endpoint=http://127.0.0.1:PORT bucket=BUCKET", once it serves, and ends at SIGTERM or \
            Ctrl-C. What clients write stays in memory.
            """)

    @Argument(help: "A directory whose files become objects. Changed files are seen within a second.")
    var directory: String?

    @Flag(help: "Serve a small made-up dataset.")
    var demo = false

    @Option(help: "The bucket's name.")
    var bucket = "demo"

    @Option(help: "The port; 0 takes a free one.")
    var port: UInt16 = 0

    @Option(help: "The region that signatures must name.")
    var region = "us-east-1"

    @Flag(help: "Take only requests signed with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN).")
    var signed = false

    func run() throws {
        var options = S3Server.Options()
        options.port = port
        options.region = region
        if signed { options.credentials = [try environmentCredentials()] }

        var ends = sigset_t()
        sigemptyset(&ends)
        sigaddset(&ends, SIGTERM)
        sigaddset(&ends, SIGINT)
        pthread_sigmask(SIG_BLOCK, &ends, nil)

        let mirror = try directory.map { path in
            guard let root = realpath(path, nil) else {
                throw ValidationError("\(path): \(String(cString: strerror(errno))). Give a directory that exists.")
            }
            defer { free(root) }
            return DirectoryMirror(root: String(cString: root), bucket: bucket)
        }
        let server: S3Server
        do {
            server = try S3Server(options) { server in mirror?.update(server) }
        } catch {
            throw ValidationError("can't listen on 127.0.0.1:\(port): \(error). Choose another --port, or 0.")
        }
        server.createBucket(bucket)
        if demo { DemoDataset.put(into: server, bucket: bucket) }
        mirror?.update(server)
        print("endpoint=\(server.endpoint) bucket=\(bucket)")
        fflush(nil)

        var signal: Int32 = 0
        sigwait(&ends, &signal)
        server.stop()
    }

    private func environmentCredentials() throws -> ServerCredentials {
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        guard let key = variable("AWS_ACCESS_KEY_ID"), let secret = variable("AWS_SECRET_ACCESS_KEY") else {
            throw ValidationError("--signed: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set. Set them.")
        }
        return ServerCredentials(accessKey: key, secretKey: secret, sessionToken: variable("AWS_SESSION_TOKEN"))
    }
}
