import CExpat

/// A push parser over expat for what S3 and STS answer. Nothing in a document can make it read a file, expand an
/// entity, recurse or grow without a limit: a document type is refused, and depth and sizes are bounded.
final class XMLReader {
    struct Limits {
        var depth = 16
        /// The text between two tags.
        var textBytes = 64 << 10
        var documentBytes = 32 << 20
    }

    private let parser: XML_Parser
    private let limits: Limits
    private unowned let handler: any XMLHandler
    private var depth = 0
    private var documentBytes = 0
    private var text: [UInt8] = []
    private var problem: String?

    /// `handler` must outlive the reader's use.
    init(_ handler: any XMLHandler, limits: Limits = Limits()) {
        self.handler = handler
        self.limits = limits
        parser = XML_ParserCreate("UTF-8")!
        text.reserveCapacity(1024)
        XML_SetUserData(parser, Unmanaged.passUnretained(self).toOpaque())
        XML_SetElementHandler(
            parser,
            { context, name, _ in Unmanaged<XMLReader>.fromOpaque(context!).takeUnretainedValue().start(name!) },
            { context, name in Unmanaged<XMLReader>.fromOpaque(context!).takeUnretainedValue().end(name!) })
        XML_SetCharacterDataHandler(parser) { context, bytes, count in
            let reader = Unmanaged<XMLReader>.fromOpaque(context!).takeUnretainedValue()
            reader.add(UnsafeRawBufferPointer(start: bytes, count: Int(count)))
        }
        XML_SetStartDoctypeDeclHandler(parser) { context, _, _, _, _ in
            Unmanaged<XMLReader>.fromOpaque(context!).takeUnretainedValue().stop("it has a document type")
        }
    }

    deinit { XML_ParserFree(parser) }

    /// Parses the next bytes; nil, or what is wrong with the document.
    func parse(_ bytes: UnsafeRawBufferPointer) -> String? {
        documentBytes += bytes.count
        if documentBytes > limits.documentBytes { stop("it is longer than \(limits.documentBytes) bytes") }
        return run(bytes, isFinal: false)
    }

    /// The document ends here; nil, or what is wrong with it.
    func finish() -> String? {
        run(UnsafeRawBufferPointer(start: nil, count: 0), isFinal: true)
    }

    private func run(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> String? {
        if let problem { return problem }
        let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        if XML_Parse(parser, start, Int32(bytes.count), isFinal ? 1 : 0) != XML_STATUS_OK, problem == nil {
            let words = XML_ErrorString(XML_GetErrorCode(parser)).map { String(cString: $0) } ?? "malformed"
            problem = "\(words) in line \(XML_GetCurrentLineNumber(parser))"
        }
        return problem
    }

    private func start(_ name: UnsafePointer<CChar>) {
        guard problem == nil else { return }
        depth += 1
        if depth > limits.depth { return stop("its elements are nested more than \(limits.depth) deep") }
        text.removeAll(keepingCapacity: true)
        if let problem = handler.started(XMLName(name), depth: depth) { stop(problem) }
    }

    private func end(_ name: UnsafePointer<CChar>) {
        guard problem == nil else { return }
        if let problem = text.withUnsafeBytes({ handler.ended(XMLName(name), depth: depth, text: $0) }) {
            stop(problem)
        }
        text.removeAll(keepingCapacity: true)
        depth -= 1
    }

    private func add(_ bytes: UnsafeRawBufferPointer) {
        guard problem == nil else { return }
        if text.count + bytes.count > limits.textBytes {
            return stop("a text in it is longer than \(limits.textBytes) bytes")
        }
        text.append(contentsOf: bytes)
    }

    private func stop(_ why: String) {
        if problem == nil { problem = why }
        XML_StopParser(parser, 0)
    }
}

/// Hears of a document's elements. An answer that is not nil ends the parsing: what is wrong.
protocol XMLHandler: AnyObject {
    /// `depth`: 1 for the root.
    func started(_ name: XMLName, depth: Int) -> String?
    /// `text`: what was between this tag and the last one before it.
    func ended(_ name: XMLName, depth: Int, text: UnsafeRawBufferPointer) -> String?
}

/// An element's name, valid during the call, without a namespace's prefix.
struct XMLName {
    private let name: UnsafePointer<CChar>
    init(_ name: UnsafePointer<CChar>) {
        var start = name
        var at = name
        while at.pointee != 0 {
            if at.pointee == CChar(0x3A), at[1] != 0 { start = at + 1 }
            at += 1
        }
        self.name = start
    }

    static func ~= (pattern: StaticString, name: XMLName) -> Bool {
        let count = pattern.utf8CodeUnitCount
        for i in 0..<count where UInt8(bitPattern: name.name[i]) != pattern.utf8Start[i] { return false }
        return name.name[count] == 0
    }

    var text: String { String(cString: name) }
}
