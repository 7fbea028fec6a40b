import ArgumentParser
import Glibc
import S3

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List the objects of a bucket or prefix.",
        discussion: "Directories end in a slash. With --recursive every object below is listed with its whole key.")

    @Argument(help: ArgumentHelp("s3://BUCKET[/PREFIX]", valueName: "source"))
    var source: SourceURL

    @Flag(name: .shortAndLong, help: "Everything below, not only this level.")
    var recursive = false

    @Flag(name: .shortAndLong, help: "Size and time of each object.")
    var long = false

    @Flag(help: "End with the number of objects and bytes.")
    var summary = false

    @OptionGroup var connection: ConnectionArguments

    func run() throws {
        let store = try connection.open(bucket: source.bucket).client(timeoutMs: Connection.impatientMs)
        var objects = 0
        var bytes: UInt64 = 0
        let listing = Listing(store: store, source: source)
        let request = ListRequest(prefix: ObjectKey(source.path), delimiter: recursive ? nil : UInt8(ascii: "/"))
        let base =
            recursive
            ? 0
            : source.path.utf8.lastIndex(of: UInt8(ascii: "/")).map {
                source.path.utf8.distance(from: source.path.startIndex, to: $0) + 1
            } ?? 0
        try listing.forEachPage(request) { page in
            var out = ""
            for prefix in page.prefixes {
                out += line(size: nil, modified: nil, name: page.bytes[prefix].dropFirst(base))
            }
            for object in page.objects {
                objects += 1
                bytes += object.size
                out += line(size: object.size, modified: object.modified, name: page.bytes[object.key].dropFirst(base))
            }
            try Output.out(out)
            return true
        }
        if summary { try Output.out("\(objects) objects, \(bytes) bytes (\(ByteSize(bytes: bytes)))\n") }
    }

    private func line(size: UInt64?, modified: Int64?, name: ArraySlice<UInt8>) -> String {
        let name = oneLine(String(decoding: name, as: UTF8.self))
        guard long else { return name + "\n" }
        let time = modified.map(Self.time) ?? String(repeating: " ", count: 20)
        let digits = size.map(String.init) ?? "-"
        return "\(String(repeating: " ", count: max(0, 14 - digits.count)))\(digits)  \(time)  \(name)\n"
    }

    /// RFC 3339 in UTC.
    static func time(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let n = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: text[..<n].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
