import Curl
import Glibc

// libFuzzer's entry: FUZZ names the parser. Built by scripts/fuzz together with the parsers' sources as one module, so
// that the parsers are instrumented too. Beyond not crashing, each parser has to keep its promises.

private func require(_ holds: Bool, _ what: @autoclosure () -> String) {
    if !holds {
        let text = "broken promise: \(what())\n"
        _ = text.withCString { write(2, $0, strlen($0)) }
        abort()
    }
}

@Sendable private func fuzzList(_ bytes: UnsafeRawBufferPointer) {
    let parser = ListPageParser()
    // In two pieces, as they come from a socket.
    let half = bytes.count / 2
    if parser.parse(.init(rebasing: bytes[..<half])) != nil { return }
    if parser.parse(.init(rebasing: bytes[half...])) != nil { return }
    guard case .success(let page) = parser.finish(prefix: ObjectKey("a"), after: ObjectKey("a1")) else { return }
    func key(_ range: Range<Int>) -> ArraySlice<UInt8> {
        require(range.lowerBound >= 0 && range.upperBound <= page.bytes.count, "a range outside of the page")
        return page.bytes[range]
    }
    for object in page.objects {
        require(key(object.key).first == UInt8(ascii: "a"), "a key without the prefix")
        _ = key(object.etag)
    }
    for pair in zip(page.objects, page.objects.dropFirst()) {
        require(!key(pair.1.key).lexicographicallyPrecedes(key(pair.0.key)), "keys out of order")
    }
    for prefix in page.prefixes { _ = key(prefix) }
    require(page.nextToken != "", "an empty token")
}

@Sendable private func fuzzFields(_ bytes: UnsafeRawBufferPointer) {
    for (name, _) in XMLFields.parse(Array(bytes)) ?? [:] { require(!name.isEmpty, "a field without a name") }
}

@Sendable private func fuzzHead(_ bytes: UnsafeRawBufferPointer) {
    var head = ResponseHead()
    for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) { head.add(.init(rebasing: line)) }
    if let range = head.contentRange {
        require(!range.range.isEmpty, "an empty Content-Range")
        if let total = range.total { require(range.range.upperBound <= total, "a range beyond its total") }
    }
    require(head.status == 0 || (100...999).contains(head.status), "status \(head.status)")
    _ = head.isReadable
    _ = Dates.parseISO8601(bytes)
    _ = Dates.parseHTTP(bytes)
}

@Sendable private func fuzzURI(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    if let endpoint = try? Endpoint(url: text) {
        let again = try? Endpoint(url: endpoint.description)
        require(again == endpoint, "\(endpoint) is not read back as itself")
        let (_, path) = endpoint.locate(bucket: "b", key: ObjectKey(Array(bytes)))
        require(path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "a path with a byte that has to be escaped")
    }
    var encoded: [UInt8] = []
    PercentEncoding.append(bytes, to: &encoded, keepsSlash: true)
    let count = encoded.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) }
    require(encoded[..<count].elementsEqual(bytes), "decoding does not undo encoding")
    var raw = Array(bytes)
    let decoded = raw.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) }
    require(decoded <= bytes.count, "decoding made it longer")
    let path = PercentEncoding.encode(bytes, keepsSlash: true)
    require(PercentEncoding.decodePath(path).elementsEqual(bytes), "decoding a path does not undo encoding")
}

@Sendable private func fuzzINI(_ bytes: UnsafeRawBufferPointer) {
    do throws(INIError) {
        let file = try INIFile(Array(bytes), name: "f")
        for section in file.sections {
            for entry in section.entries {
                require(!entry.key.isEmpty && entry.line >= section.line, "an entry before its section")
                require(file.section(section.name)?.value(entry.key) != nil, "an entry that is not found")
            }
        }
    } catch {
        require(error.line >= 1, "an error without a line")
    }
}

private let target: @Sendable (UnsafeRawBufferPointer) -> Void = {
    let name = getenv("FUZZ").map { String(cString: $0) } ?? ""
    switch name {
    case "list": return fuzzList
    case "fields": return fuzzFields
    case "head": return fuzzHead
    case "uri": return fuzzURI
    case "ini": return fuzzINI
    default:
        print("FUZZ is \"\(name)\"; give list, fields, head, uri or ini")
        exit(2)
    }
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
    target(UnsafeRawBufferPointer(start: start, count: count))
    return 0
}
