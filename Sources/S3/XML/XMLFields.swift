/// The texts of a small document's leaves by the names of their elements, the first of each: S3's and STS' errors, and
/// STS' credentials.
final class XMLFields: XMLHandler {
    private lazy var reader = XMLReader(
        self, limits: XMLReader.Limits(depth: 8, textBytes: 16 << 10, documentBytes: 256 << 10))
    private var fields: [String: String] = [:]
    private var hasChildren = false

    /// Nil where it is no document that this reads.
    static func parse(_ document: [UInt8]) -> [String: String]? {
        let parser = XMLFields()
        // The reader does not hold its handler.
        return withExtendedLifetime(parser) {
            let problem = document.withUnsafeBytes { parser.reader.parse($0) } ?? parser.reader.finish()
            return problem == nil ? parser.fields : nil
        }
    }

    func started(_ name: XMLName, depth: Int) -> String? {
        hasChildren = false
        return nil
    }

    func ended(_ name: XMLName, depth: Int, text: UnsafeRawBufferPointer) -> String? {
        if !hasChildren, fields[name.text] == nil, fields.count < 64 {
            fields[name.text] = String(decoding: text, as: UTF8.self)
        }
        hasChildren = true
        return nil
    }
}
