import ArgumentParser
import Fuse
import Glibc
import S3
import Threads

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Check what a mount needs, and say how to fix what is missing.",
        discussion: "Exit status 0: everything works; 1: something does not.")

    @Argument(help: ArgumentHelp("s3://BUCKET[/PREFIX]; without it only this machine is checked.", valueName: "source"))
    var source: SourceURL?

    @OptionGroup var connection: ConnectionArguments

    func run() throws {
        var report = Report()
        report.check("/dev/fuse can be opened") { try MountPoint.checkDevice() }
        report.check(getuid() == 0 ? "mounting as root" : "fusermount3 is installed") { try checkFusermount() }
        if let source { checkBucket(source, &report) }
        if report.failures > 0 { throw ExitCode(1) }
    }

    private func checkFusermount() throws {
        guard getuid() != 0 else { return }
        let path = Environment.process["PATH"] ?? "/usr/bin:/bin"
        for directory in path.split(separator: ":") where access("\(directory)/fusermount3", X_OK) == 0 { return }
        throw Failure("fusermount3", because: "it is in no directory of PATH", fix: "apt-get install fuse3")
    }

    private func checkBucket(_ source: SourceURL, _ report: inout Report) {
        var client: S3Client?
        report.check("the options make sense") {
            client = try connection.open(bucket: source.bucket).client(timeoutMs: Connection.impatientMs)
        }
        guard let client else { return }
        report.check("credentials: \(client.configuration.credentials.origin)") {
            let promise = Promise<Result<Credentials?, S3Error>>()
            client.configuration.credentials.credentials { promise.fulfil($0) }
            let result = promise.wait(until: Instant.now.advanced(byMs: 30_000)) ?? .failure(.timedOut)
            if case .failure(let error) = result { throw Explanation(error, source: source).failure("credentials") }
        }
        var found: BucketCheck?
        report.check("the endpoint answers: \(client.configuration.endpoint)") {
            let promise = Promise<Result<BucketCheck, S3Error>>()
            client.checkBucket(timeoutMs: Connection.impatientMs) { promise.fulfil($0) }
            let result = promise.wait(until: Instant.now.advanced(byMs: 30_000)) ?? .failure(.timedOut)
            do throws(S3Error) { found = try result.get() } catch {
                throw Explanation(error, source: source).failure("the endpoint")
            }
            if let error = found?.error { throw Explanation(error, source: source).failure("the bucket") }
        }
        guard let found else { return }
        report.check("the clock agrees with the server's") {
            guard let skew = found.clockOffsetSeconds, abs(skew) > 300 else { return }
            throw Failure(
                "the clock", because: "it is \(abs(skew)) s \(skew > 0 ? "behind" : "ahead of") the server's",
                fix: "timedatectl set-ntp true")
        }
        report.check("the region is \(client.configuration.endpoint.region)") {
            guard let region = found.region, region != client.configuration.endpoint.region else { return }
            throw Failure("the region", because: "the bucket is in \(region)", fix: "--region \(region)")
        }
        report.check("\(source) can be listed") {
            var isEmpty = true
            try Listing(store: client, source: source).forEachPage(
                ListRequest(prefix: source.directoryPrefix, delimiter: UInt8(ascii: "/"), maxKeys: 1)
            ) { page in
                isEmpty = page.objects.isEmpty && page.prefixes.isEmpty
                return false
            }
            if isEmpty {
                throw Failure(
                    "\(source)", because: "nothing begins with this prefix",
                    fix: "see what is there: millrace ls s3://\(source.bucket)/")
            }
        }
    }

    /// Prints each check as it is done.
    private struct Report {
        var failures = 0

        mutating func check(_ what: String, _ body: () throws -> Void) {
            do {
                try body()
                print("ok    \(oneLine(what))")
            } catch {
                failures += 1
                print("FAIL  \(oneLine(what))")
                if let failure = error as? Failure {
                    print("      \(oneLine(failure.why))\n      fix: \(oneLine(failure.fix))")
                } else {
                    print("      \(oneLine("\(error)"))")
                }
            }
            fflush(nil)
        }
    }
}
