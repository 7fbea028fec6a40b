import ArgumentParser
import Copy
import Glibc
import Mount
import PrometheusMetrics
import SystemPackage
import Threads

/// `millrace warm`: a mounted tree, or some of its files, into the disk cache of the engine that serves the mount.
struct WarmCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm", abstract: "Bring the files of a mount into its disk cache.",
        discussion: """
            DIR is a mount of millrace with a cache directory, or a directory in one. The mount itself fetches the files, \
            after what readers wait for; no byte comes through this process. What is in the cache already costs nothing, \
            so a run that was cut off goes on where it stopped. Ends with 0 once every file is wholly there.
            """)

    @Argument(help: ArgumentHelp("A mounted directory.", valueName: "dir"), completion: .directory)
    var directory: String

    @Option(
        name: .customLong("glob"),
        help: ArgumentHelp(
            "Only files whose path from DIR matches: * and ? in a name, ** any directories. Several may be given.",
            valueName: "pattern"))
    var globs: [String] = []

    @Option(help: ArgumentHelp("Files at a time.", valueName: "n"))
    var parallel = 32

    @Option(help: ArgumentHelp("Serve GET /progress and /metrics here while it runs.", valueName: "host:port"))
    var progressAddress: String?

    @Option(help: ArgumentHelp("Write how it ended to this file, as JSON.", valueName: "file"))
    var resultFile: String?

    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    func validate() throws {
        if !(1...256).contains(parallel) { throw ValidationError("--parallel: give 1 to 256.") }
    }

    func run() throws {
        let job = WarmJob(
            FileTree(root: absolute(directory), globs: globs.map { GlobPattern($0) }), parallel: parallel)
        let termination = Termination.install()
        let server = try progressAddress.map { address in
            do {
                return try ProgressServer(address: address, metrics: Registry()) { Self.report(job, .warming) }
            } catch {
                throw Failure(
                    "cannot serve progress on \(address)", because: "\(error)",
                    fix: "give --progress-address HOST:PORT with a port that is free, or leave it out")
            }
        }
        defer { server?.stop() }
        let ended = Promise<WarmJob.Problem?>()
        let thread = Thread("warm") {
            do throws(WarmJob.Problem) {
                try job.run()
                ended.fulfil(nil)
            } catch {
                ended.fulfil(error)
            }
        }
        let problem = wait(for: ended, of: job, termination)
        thread.join()
        if let problem { try fail(problem, job) }
        let report = Self.report(job, .succeeded)
        write(report)
        if !quiet { Output.error("\(report.objects) files, \(ByteSize(bytes: report.bytes)) in the cache\n") }
    }

    /// Shows how it gets on, every ten seconds.
    private func wait(for ended: Promise<WarmJob.Problem?>, of job: WarmJob, _ termination: Termination)
        -> WarmJob.Problem?
    {
        var nextLine = Instant.now.advanced(byMs: 10_000)
        while true {
            if let problem = ended.wait(until: .now.advanced(byMs: 200)) { return problem }
            if termination.wait(until: .now) != nil { job.stop() }
            guard !quiet, nextLine <= .now else { continue }
            let counts = job.counts
            Output.error(
                "\(counts.objects) of \(counts.objectsTotal) files, \(ByteSize(bytes: counts.bytes)) of "
                    + "\(ByteSize(bytes: counts.bytesTotal))\n")
            nextLine = .now.advanced(byMs: 10_000)
        }
    }

    private func fail(_ problem: WarmJob.Problem, _ job: WarmJob) throws -> Never {
        var report = Self.report(job, .failed)
        report.message = oneLine("\(problem)")
        write(report)
        let fix =
            switch problem.errno {
            case .notSupported: "give the mount a cache directory (--cache-dir; node.cacheDir in the chart)"
            case .noSpace: "make the cache larger (--cache-size, quota), or warm less (--glob)"
            case .interrupted: "run the same command again: it goes on where it stopped"
            default: "mend the cause and run the same command again: it goes on where it stopped"
            }
        throw Failure("not all of \(directory) is in the cache", because: "\(problem)", fix: fix)
    }

    private func write(_ report: ProgressReport) {
        guard let resultFile, !ResultFile.write(report, to: resultFile) else { return }
        Output.error("millrace: cannot write \(resultFile): \(String(cString: strerror(errno)))\n")
    }

    private static func report(_ job: WarmJob, _ phase: ProgressReport.Phase) -> ProgressReport {
        let counts = job.counts
        var report = ProgressReport(phase)
        report.objects = counts.objects
        report.objectsTotal = counts.objectsTotal
        report.bytes = counts.bytes
        report.bytesTotal = counts.bytesTotal
        return report
    }
}
