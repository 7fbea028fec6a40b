import ArgumentParser
import Copy
import Glibc
import Logging
import Logs
import PrometheusMetrics
import S3
import Threads

struct CopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copy an object, a prefix or URLs to a file or a directory.",
        discussion: """
            An object or a URL goes to DEST, or into it where DEST is a directory. A source that ends in a slash, or \
            --recursive, copies everything below it into the directory DEST. A copy that was cut off goes on where it \
            stopped when it is run again; an unfinished file is called .NAME.millrace-part. Without a source \
            IMPORTER_ENDPOINT names it; IMPORTER_ACCESS_KEY_ID and IMPORTER_SECRET_KEY are its keys.
            Exit status: 0 all is there, 1 something isn't and may be if it is run again, 2 wrong usage, 3 something is \
            wrong that running it again won't mend (a checksum, a name that would leave the destination).
            """)

    @Argument(
        help: ArgumentHelp(
            "s3://BUCKET/KEY, s3://BUCKET/PREFIX/ or URLs (http, https); the last one is the file or directory to copy to.",
            valueName: "source… dest"), completion: .file())
    var paths: [String]

    @Flag(name: .shortAndLong, help: "Copy everything whose key begins with PREFIX/.")
    var recursive = false

    @Flag(help: "Copy everything whose key begins with PREFIX, whatever comes after it.")
    var stringPrefix = false

    @Flag(help: "Copy again what is there already.")
    var force = false

    @Option(help: ArgumentHelp("Requests in flight.", valueName: "n"))
    var parallel = 32

    @Option(
        help: ArgumentHelp("What one object must hash to: md5, sha1, sha256 or sha512.", valueName: "algorithm:hex"))
    var checksum: [String] = []

    @Option(
        help: ArgumentHelp(
            "File (or directory of files) of checksums, as sha256sum writes them, by path below DEST.",
            valueName: "file"),
        completion: .file())
    var checksums: String?

    @Flag(help: "Compare each file with the checksum that S3 keeps of its object (or its ETag, where that is an MD5).")
    var verify = false

    @Option(help: "What to do when an object is replaced while it is copied: restart or fail.")
    var onChange = CopyOptions.ChangePolicy.restart

    @Option(
        help: ArgumentHelp("File (or directory of files) of header lines for URLs, Name: value.", valueName: "file"),
        completion: .file())
    var headersFile: String?

    @Option(
        help: ArgumentHelp(
            "Directory whose files hold the keys, as a mounted Secret; looked at again when they expire.",
            valueName: "dir"), completion: .directory)
    var credentialsDir: String?

    @Flag(help: "Reach no loopback, link-local or metadata address, also by redirects.")
    var limitAddresses = false

    @Option(help: ArgumentHelp("Addresses that --limit-addresses lets through.", valueName: "cidr"))
    var allowAddress: [String] = []

    @Option(help: ArgumentHelp("Serve GET /progress and /metrics here.", valueName: "host:port"))
    var progressAddress: String?

    @Option(help: ArgumentHelp("Write how it ended into this file, as JSON.", valueName: "file"))
    var resultFile: String?

    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    @OptionGroup var connection: ConnectionArguments

    func validate() throws {
        if !(1...1024).contains(parallel) { throw ValidationError("--parallel: give 1 to 1024.") }
        if paths.isEmpty { throw ValidationError("give the file or directory to copy to.") }
        if recursive && stringPrefix { throw ValidationError("--recursive and --string-prefix exclude each other.") }
    }

    func run() throws {
        // As a container's first process it would not even hear SIGTERM. What is whole so far stays for the next run.
        for number in [SIGTERM, SIGINT] { signal(number) { _exit(128 + $0) } }
        let copy = CopyRun(self)
        do {
            try copy.run()
        } catch let failure as Failure {
            copy.ended(failure)
            Output.error("\(failure)\n")
            throw ExitCode(copy.isFinal ? 3 : 1)
        }
    }

    func options() throws -> CopyOptions {
        var options = CopyOptions()
        options.concurrency = parallel
        options.overwrite = force
        options.onChange = onChange
        options.verifiesStored = verify
        do throws(ChecksumError) {
            for text in checksum { options.checksums.add(try Checksum(text), for: "") }
        } catch {
            throw Failure("--checksum", because: "\(error)", fix: "see millrace cp --help")
        }
        for file in try checksums.map(TextFiles.read) ?? [] {
            do throws(ChecksumError) {
                options.checksums.merge(try ChecksumList(file.text))
            } catch {
                throw Failure("cannot use the checksums in \(file.path)", because: "\(error)", fix: "correct the file")
            }
        }
        return options
    }
}

extension CopyOptions.ChangePolicy: ExpressibleByArgument {}
