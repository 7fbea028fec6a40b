import Glibc
import S3
import TestSupport
import Testing
import Threads

@testable import Manifests

/// Where files of a test go; removed with the object.
final class TemporaryDirectory {
    let path: String
    init() {
        var template = Array("/tmp/millrace-manifests-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)!) }
    }
    deinit {
        for name in (try? files()) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }
    private func files() throws -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            names.append(
                withUnsafePointer(to: entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names.filter { $0 != "." && $0 != ".." }
    }
}

struct Row: Equatable {
    var key: String
    var size: UInt64 = 1
    var modified: Int64 = 1_700_000_000
    var etag = "d41d8cd98f00b204e9800998ecf8427e"
    var version = ""
    var isReadable = true
}

func page(_ rows: [Row]) -> ListPage {
    var page = ListPage()
    func pack(_ text: String) -> Range<Int> {
        let start = page.bytes.count
        page.bytes += text.utf8
        return start..<page.bytes.count
    }
    for row in rows {
        page.objects.append(
            ListPage.Object(
                key: pack(row.key), etag: pack(row.etag), size: row.size, modified: row.modified,
                isReadable: row.isReadable, version: pack(row.version)))
    }
    return page
}

/// The bytes of a manifest of these pages.
func written(_ pages: [ListPage], prefix: String = "") throws -> (bytes: [UInt8], info: ManifestInfo) {
    var bytes: [UInt8] = []
    var writer = try ManifestWriter(ManifestInfo(bucket: "b", prefix: prefix, created: 7)) { bytes += $0 }
    for page in pages { try writer.add(page) }
    let info = try writer.finish()
    return (bytes, info)
}

func opened(_ bytes: [UInt8]) throws -> Manifest {
    let memory = try ManifestBytes(count: bytes.count)
    bytes.withUnsafeBytes { memory.fill($0, at: 0) }
    return try Manifest(memory)
}

func keys(_ page: ListPage) -> [String] { page.objects.map { String(decoding: page.bytes[$0.key], as: UTF8.self) } }
func prefixes(_ page: ListPage) -> [String] { page.prefixes.map { String(decoding: page.bytes[$0], as: UTF8.self) } }

func wait<Value: Sendable>(_ start: (@escaping @Sendable (Value) -> Void) -> Void) throws -> Value {
    let promise = Promise<Value>()
    start { promise.fulfil($0) }
    return try #require(promise.wait(until: .now.advanced(byMs: 30_000)))
}

/// A GET's bytes, or why there are none.
func read(_ store: any ObjectStore, _ request: GetRequest) throws -> Result<[UInt8], S3Error> {
    final class Receiver: GetReceiver {
        let bytes = Locked<[UInt8]>([])
        let promise = Promise<Result<[UInt8], S3Error>>()
        func received(_ piece: UnsafeRawBufferPointer, at offset: UInt64) { bytes.withLock { $0 += piece } }
        func finished(_ result: Result<ObjectMetadata, S3Error>) {
            promise.fulfil(result.map { _ in bytes.withLock { $0 } })
        }
    }
    let receiver = Receiver()
    store.get(request, receiver)
    return try #require(receiver.promise.wait(until: .now.advanced(byMs: 30_000)))
}

struct Random: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
