/// The texts of a small document's leaves by the names of their elements, the first of each: S3's and STS' errors, and
/// STS' credentials.
final class XMLFields: XMLHandler {
    private lazy var reader = XMLReader(
        self, limits: XMLReader.Limits(depth: 8, textBytes: 16 << 10, documentBytes: 256 << 10))
    private var fields: [String: String] = [:]
    /// Of a list's elements, in order.
    private var members: [String] = []
    private var hasChildren = false

    struct Document {
        var fields: [String: String] = [:]
        /// The texts of all `member` elements, as AWS' query protocol calls a list's elements.
        var members: [String] = []
    }

    /// Nil where it is no document that this reads.
    static func parse(_ document: [UInt8]) -> [String: String]? { read(document)?.fields }

    static func read(_ document: [UInt8]) -> Document? {
        let parser = XMLFields()
        // The reader does not hold its handler.
        return withExtendedLifetime(parser) {
            let problem = document.withUnsafeBytes { parser.reader.parse($0) } ?? parser.reader.finish()
            return problem == nil ? Document(fields: parser.fields, members: parser.members) : nil
        }
    }

    func started(_ name: XMLName, depth: Int) -> String? {
        hasChildren = false
        return nil
    }

    func ended(_ name: XMLName, depth: Int, text: UnsafeRawBufferPointer) -> String? {
        if !hasChildren, name.text == "member", members.count < 4096 {
            members.append(String(decoding: text, as: UTF8.self))
        }
        if !hasChildren, fields[name.text] == nil, fields.count < 64 {
            fields[name.text] = String(decoding: text, as: UTF8.self)
        }
        hasChildren = true
        return nil
    }
}
