import CLinux
import Copy
import Glibc
import Logging
import Logs
import Namespace
import PrometheusMetrics
import S3
import Threads

/// One run of `millrace cp`: opens the source, finds what is to be copied, copies, and tells how it goes.
final class CopyRun: @unchecked Sendable {
    private let command: CopyCommand
    private let metrics = Registry()
    private let logger: Logger
    private let job = Locked<CopyJob?>(nil)
    /// Of the thread that runs.
    private(set) var isFinal = false

    init(_ command: CopyCommand) {
        self.command = command
        LogOutput.bootstrap(level: command.connection.logLevel.level, format: command.connection.logFormat.format)
        logger = Logger(label: "millrace")
    }

    func run() throws {
        let server = try command.progressAddress.map { address in
            do {
                return try ProgressServer(address: address, metrics: metrics) { [self] in report }
            } catch {
                throw Failure(
                    "--progress-address \(address)", because: "\(error)", fix: "give HOST:PORT of this machine")
            }
        }
        defer { server?.stop() }
        let destination = command.paths.last!
        let environment = ImporterEnvironment(environment: .process)
        let typed = Array(command.paths.dropLast())
        let source = try CopySource(typed.isEmpty ? command.sources(environment) : typed)
        let isWhole = command.recursive || command.stringPrefix || source.isPrefix
        if isWhole, !command.checksum.isEmpty {
            isFinal = true
            throw Failure(
                "--checksum can't be used",
                because: "it is of one object, and \(source.description) is a prefix or several",
                fix: "give --checksums FILE, with a line for each file as sha256sum writes them")
        }
        let options = try command.options()
        let store = try command.open(source, environment, metrics, logger)
        let target = isWhole ? try Destination.directory(destination) : destination
        let job = CopyJob(store: store, destination: target, options: options)
        self.job.withLock { $0 = job }
        let progress = command.quiet ? nil : ProgressLine(job)
        defer { progress?.end() }
        let finder = CopyFinder(store: store, source: source, isStringPrefix: command.stringPrefix)
        let found = Result { isWhole ? try finder.addAll(to: job) : try finder.addOne(to: job, destination) }
        let counts = job.finish()
        progress?.end()
        isFinal = counts.failures.contains { $0.kind == .final }
        try found.get()
        try tell(counts)
        Destination.sync(target)
        finish(report)
    }

    private func tell(_ counts: CopyJob.Counts) throws {
        if !command.quiet {
            Output.error(
                "\(counts.files) copied, \(counts.skipped) already there, \(ByteSize(bytes: counts.bytes)) read\n")
        }
        guard !counts.failures.isEmpty else { return }
        // What stopped it all says more than what came of that.
        let first = counts.failures.first { $0.kind != .single } ?? counts.failures[0]
        for failure in counts.failures.prefix(10) { Output.error("millrace: \(oneLine("\(failure)"))\n") }
        let all = max(counts.objectsFound, counts.files + counts.skipped + counts.failures.count)
        throw Failure(
            "\(all - counts.files - counts.skipped) of \(all) not copied", because: "\(first)",
            fix: isFinal
                ? "correct the source or the checksum; nothing wrong was put in place"
                : "mend the cause and run the same command again: it goes on where this one stopped")
    }

    // MARK: Progress

    private var report: ProgressReport {
        guard let counts = job.withLock({ $0 })?.counts else { return ProgressReport(.listing) }
        var report = ProgressReport(.copying)
        report.objects = counts.files + counts.skipped
        report.bytes = counts.bytesDone
        if counts.isListed { (report.objectsTotal, report.bytesTotal) = (counts.objectsFound, counts.bytesFound) }
        return report
    }

    /// It could not be done.
    func ended(_ failure: Failure) {
        var report = report
        report.phase = .failed
        report.isFinal = isFinal
        report.message = "\(failure.what): \(failure.why); \(failure.fix)"
        write(report)
    }

    private func finish(_ last: ProgressReport) {
        var last = last
        last.phase = .succeeded
        write(last)
    }

    private func write(_ report: ProgressReport) {
        guard let path = command.resultFile, !ResultFile.write(report, to: path) else { return }
        logger.error("the result file can't be written: \(path): \(String(cString: strerror(errno)))")
    }
}

/// Where a copy goes.
enum Destination {
    /// The directory, made if need be.
    static func directory(_ path: String) throws -> String {
        if mkdir(path, 0o777) == 0 { return path }
        let reason = errno
        if isDirectory(path) { return path }
        throw Failure(
            "cannot copy into \(path)", because: String(cString: strerror(reason == EEXIST ? ENOTDIR : reason)),
            fix: "name a directory, or one that can be made in a directory that exists")
    }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// All of it is on the disk, once this returns.
    static func sync(_ path: String) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = clinux_syncfs(descriptor)
        close(descriptor)
    }
}
