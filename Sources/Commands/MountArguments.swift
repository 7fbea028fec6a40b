import ArgumentParser
import BlockCache
import Glibc

/// What a mount is like: the options of `millrace mount` beside those of the connection.
struct MountArguments: ParsableArguments {
    @Option(help: ArgumentHelp("Largest read-ahead window of an open file.", valueName: "size"))
    var readAhead = ByteSize(bytes: 256 << 20)

    @Option(help: ArgumentHelp("Memory for cached blocks: a hard limit.", valueName: "size"))
    var memory = ByteSize(bytes: 512 << 20)

    @Option(
        help: ArgumentHelp(
            "Page cache that files read for the first time may fill together; larger ones are given back behind the "
                + "reader. Default: 1/16 of the memory.", valueName: "size"))
    var pageCache: ByteSize?

    @Option(
        help: ArgumentHelp("Keep blocks in this directory too, across restarts.", valueName: "dir"),
        completion: .directory)
    var cacheDir: String?

    @Option(help: ArgumentHelp("Most that the cache directory may hold.", valueName: "size"))
    var cacheSize = ByteSize(bytes: 10 << 30)

    @Option(
        help: ArgumentHelp(
            "What the cache directory leaves free on its disk. Default: 1G, or 5 % of a small disk.", valueName: "size")
    )
    var cacheMinFree: ByteSize?

    @Option(
        help: ArgumentHelp("0 to 1000: what gives way first in a shared cache directory, the lowest.", valueName: "n"))
    var cachePriority = CachePolicy.defaultPriority

    @Option(help: ArgumentHelp("Most that this mount's bytes may take of the cache directory.", valueName: "size"))
    var cacheQuota: ByteSize?

    @Flag(help: "This mount's bytes in the cache directory never give way for others.")
    var cachePin = false

    @Option(help: ArgumentHelp("Owner of every file. Default: who mounts.", valueName: "id"))
    var uid: UInt32 = getuid()

    @Option(help: ArgumentHelp("Group of every file. Default: that of who mounts.", valueName: "id"))
    var gid: UInt32 = getgid()

    @Option(help: ArgumentHelp("Permissions of files, in octal.", valueName: "mode"))
    var fileMode = FileMode(bits: 0o444)

    @Option(help: ArgumentHelp("Permissions of directories, in octal.", valueName: "mode"))
    var dirMode = FileMode(bits: 0o555)

    @Flag(help: "Let other users see the mount.")
    var allowOther = false

    @Option(help: ArgumentHelp("How long a listing is trusted: 500ms, 30s, 5m. Default: 1s.", valueName: "time"))
    var metadataTTL: Span?

    @Flag(help: "The bucket never changes: trust listings and attributes for good.")
    var immutable = false

    @Option(
        help: ArgumentHelp(
            "Show a snapshot that `millrace snapshot` wrote: a file or s3://BUCKET/KEY.", valueName: "manifest"))
    var revision: String?

    @Option(
        help: ArgumentHelp("For a web server: a file with a line \"Name: value\" for each header.", valueName: "file"),
        completion: .file())
    var headers: String?

    @Option(help: ArgumentHelp("Serve Prometheus metrics here.", valueName: "host:port"))
    var metrics: String?

    @Option(help: ArgumentHelp("Log a line for every request that takes longer.", valueName: "time"))
    var slowRequest = Span(ms: 5000)

    @Option(
        help: ArgumentHelp(
            "How long a request to S3 is tried, with its retries, before a read fails.", valueName: "time"))
    var requestTimeout = Span(ms: 60_000)

    @Flag(
        help: """
            Keep the mount when this process is killed: a keeper holds it, readers wait, and the same command again goes on \
            with open files and all.
            """)
    var survive = false

    func validate() throws {
        if requestTimeout.ms < 1000 { throw ValidationError("--request-timeout: give at least 1s.") }
        if memory.bytes < 16 << 20 { throw ValidationError("--memory: \(memory) is too little; give at least 16M.") }
        if memory.bytes > 1 << 42 { throw ValidationError("--memory: \(memory) is more than any machine has.") }
        if cacheDir != nil && cacheSize.bytes < 64 << 20 {
            throw ValidationError("--cache-size: \(cacheSize) is too little; give at least 64M.")
        }
        if !CachePolicy.priorities.contains(cachePriority) {
            throw ValidationError("--cache-priority: give 0 to 1000, not \(cachePriority).")
        }
        if immutable && metadataTTL != nil {
            throw ValidationError("--immutable and --metadata-ttl exclude each other; give one of them.")
        }
    }
}

extension Span: CustomStringConvertible {
    var description: String { ms % 1000 == 0 ? "\(ms / 1000)s" : "\(ms)ms" }
}

extension FileMode: CustomStringConvertible {
    var description: String { "0" + String(bits, radix: 8) }
}
