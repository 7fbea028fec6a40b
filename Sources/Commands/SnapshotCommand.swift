import ArgumentParser
import Glibc
import Manifests
import S3
import Threads

struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Write down what is in a bucket or prefix now, to mount just that later.",
        discussion: """
            The manifest has each object's key, size and version: its version ID where the bucket keeps versions, else its \
            ETag. `millrace mount --revision MANIFEST` shows exactly that: what was added since is not there, what was \
            replaced or deleted reads as ESTALE, or as it was where the bucket keeps versions.
            """)

    @Argument(help: ArgumentHelp("s3://BUCKET[/PREFIX]", valueName: "source"))
    var source: SourceURL

    @Option(
        name: .shortAndLong, help: ArgumentHelp("A new file, or s3://BUCKET/KEY.", valueName: "place"),
        completion: .file())
    var output: String

    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    @OptionGroup var connection: ConnectionArguments

    func run() throws {
        let client = try connection.open(bucket: source.bucket).client()
        let prefix = source.directoryPrefix
        let snapshot = Snapshot(
            bucket: source.bucket, prefix: prefix, created: Int64(time(nil)),
            source: Snapshot.pages(client, prefix: prefix))
        let progress: (UInt64) -> Void = { objects in
            if !quiet, objects % 100_000 < 1000, isatty(2) == 1 { Output.error("\r\(objects) objects") }
        }
        let info: ManifestInfo
        do {
            info = output.hasPrefix("s3://") ? try upload(snapshot, progress) : try save(snapshot, progress)
        } catch let error as S3Error {
            throw Explanation(error, source: source).failure("cannot make a snapshot of \(source)")
        }
        if !quiet {
            let versions = info.versioned == 0 ? "" : ", \(info.versioned) by version ID"
            Output.error("\(info.objects) objects, \(ByteSize(bytes: info.bytes))\(versions)\n")
        }
        try Output.out("\(info.digest)\n")
    }

    private func upload(_ snapshot: Snapshot, _ progress: (UInt64) -> Void) throws -> ManifestInfo {
        guard let url = SourceURL(argument: output), !url.path.isEmpty, !url.path.hasSuffix("/") else {
            throw Failure("cannot write \(output)", because: "it names no object", fix: "give --output s3://BUCKET/KEY")
        }
        let upload = ObjectUpload(try connection.open(bucket: url.bucket).client(), ObjectKey(url.path))
        do {
            let info = try snapshot.write(to: { try upload.write($0) }, progress: progress)
            try upload.finish()
            return info
        } catch S3Error.changed {
            upload.abort()
            throw Failure(
                "cannot write \(output)", because: "there is such an object already", fix: "choose another key")
        } catch {
            upload.abort()
            throw error
        }
    }

    /// Under another name until it is whole.
    private func save(_ snapshot: Snapshot, _ progress: (UInt64) -> Void) throws -> ManifestInfo {
        func failure() -> Failure {
            Failure(
                "cannot write \(output)", because: String(cString: strerror(errno)),
                fix: "name a file in a directory that exists and has room")
        }
        let draft = "\(output).\(getpid())"
        guard let file = fopen(draft, "wxe") else { throw failure() }
        var isWhole = false
        defer { if !isWhole { unlink(draft) } }
        let info: ManifestInfo
        do {
            info = try snapshot.write(
                to: { bytes in if fwrite(bytes, 1, bytes.count, file) != bytes.count { throw failure() } },
                progress: progress)
        } catch {
            fclose(file)
            throw error
        }
        let isFlushed = fflush(file) == 0 && fsync(fileno(file)) == 0
        guard fclose(file) == 0, isFlushed, rename(draft, output) == 0 else { throw failure() }
        isWhole = true
        return info
    }
}
