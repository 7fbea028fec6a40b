import ArgumentParser
import Copy
import Glibc
import S3
import Threads

struct CopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copy an object or a prefix to a file or a directory.",
        discussion: """
            An object goes to DEST, or into it where DEST is a directory. A source that ends in a slash, or --recursive, \
            copies everything below it into the directory DEST. A copy that was cut off goes on where it stopped when it \
            is run again; an unfinished file is called .NAME.millrace-part.
            """)

    @Argument(help: ArgumentHelp("s3://BUCKET/KEY or s3://BUCKET/PREFIX/", valueName: "source"))
    var source: SourceURL

    @Argument(help: ArgumentHelp("A file or a directory.", valueName: "dest"), completion: .file())
    var destination: String

    @Flag(name: .shortAndLong, help: "Copy everything whose key begins with PREFIX/.")
    var recursive = false

    @Flag(help: "Copy again what is there already.")
    var force = false

    @Option(help: ArgumentHelp("Requests in flight.", valueName: "n"))
    var parallel = 32

    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    @OptionGroup var connection: ConnectionArguments

    func validate() throws {
        if !(1...1024).contains(parallel) { throw ValidationError("--parallel: give 1 to 1024.") }
    }

    func run() throws {
        let store = try connection.open(bucket: source.bucket).client()
        let whole = recursive || source.path.isEmpty || source.path.hasSuffix("/")
        if whole { try makeDirectory() }
        let one = whole ? nil : try itemOfOneObject(store)
        let job = CopyJob(store: store, destination: destination, concurrency: parallel, overwrite: force)
        try copy(store, one, with: job)
        try report(job.counts)
    }

    private func copy(_ store: any ObjectStore, _ one: CopyItem?, with job: CopyJob) throws {
        let progress = quiet ? nil : ProgressLine(job)
        defer {
            _ = job.finish()
            progress?.end()
        }
        if let one { job.add(one) } else { try copyPrefix(store, with: job) }
    }

    private func copyPrefix(_ store: any ObjectStore, with job: CopyJob) throws {
        let prefix = source.directoryPrefix
        var found = false
        try Listing(store: store, source: source).forEachPage(ListRequest(prefix: prefix)) { page in
            for object in page.objects {
                found = true
                let key = page.key(of: object)
                switch CopyPath(name: key.bytes.dropFirst(prefix.bytes.count)) {
                case .directory: continue
                case .refused(let why): job.refuse(key, why)
                case .file(let path):
                    job.add(
                        CopyItem(
                            key: key, etag: page.etag(of: object), size: object.size, modified: object.modified,
                            relativePath: path))
                }
            }
            return true
        }
        if !found {
            throw Failure(
                "cannot copy \(source)", because: "nothing begins with it",
                fix: "see what is there: millrace ls s3://\(source.bucket)/")
        }
    }

    private func itemOfOneObject(_ store: any ObjectStore) throws -> CopyItem {
        let key = ObjectKey(source.path)
        let promise = Promise<Result<ObjectMetadata, S3Error>>()
        store.head(key) { promise.fulfil($0) }
        let metadata: ObjectMetadata
        do {
            metadata = try (promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut)).get()
        } catch S3Error.noSuchKey {
            throw Failure(
                "cannot copy \(source)", because: "there is no such object",
                fix: "for everything below it, end it in a slash or use --recursive")
        } catch {
            throw Explanation(error, source: source).failure("cannot copy \(source)")
        }
        var status = stat()
        let isDirectory = stat(destination, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        let name = source.path.split(separator: "/").last.map(String.init) ?? source.path
        return CopyItem(
            key: key, etag: metadata.etag, size: metadata.size, modified: metadata.modified,
            relativePath: isDirectory || destination.hasSuffix("/") ? name : "")
    }

    private func makeDirectory() throws {
        if mkdir(destination, 0o777) == 0 { return }
        let reason = errno
        var status = stat()
        if stat(destination, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
        throw Failure(
            "cannot copy into \(destination)", because: String(cString: strerror(reason == EEXIST ? ENOTDIR : reason)),
            fix: "name a directory, or one that can be made in a directory that exists")
    }

    private func report(_ counts: CopyJob.Counts) throws {
        if !quiet {
            Output.error(
                "\(counts.files) copied, \(counts.skipped) already there, \(ByteSize(bytes: counts.bytes)) read\n")
        }
        guard let first = counts.failures.first else { return }
        for failure in counts.failures.prefix(10) { Output.error("millrace: \(oneLine("\(failure)"))\n") }
        throw Failure(
            "\(counts.failures.count) of \(counts.files + counts.skipped + counts.failures.count) not copied",
            because: "\(first)", fix: "mend the cause and run the same command again: it goes on where this one stopped"
        )
    }
}
