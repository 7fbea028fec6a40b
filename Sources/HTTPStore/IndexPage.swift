import FoundationEssentials
import S3

/// One thing that an index page or a list names.
struct IndexItem: Equatable, Sendable {
    /// Without a slash.
    var name: [UInt8]
    var isDirectory: Bool
    /// Nil: to be asked for. An HTML page's numbers are for people.
    var size: UInt64?
    /// Seconds since 1970.
    var modified: Int64?
}

/// The page that a web server makes for a directory.
enum IndexPage {
    /// Nil: it is neither an HTML page nor a JSON list of files.
    static func parse(_ body: [UInt8], contentType: String, at address: WebAddress) -> [IndexItem]? {
        let start = body.first { $0 > 0x20 }
        if contentType.hasPrefix("application/json") || start == UInt8(ascii: "[") { return parseJSON(body) }
        let isHTML = contentType.hasPrefix("text/html") || contentType.hasPrefix("application/xhtml")
        guard isHTML || (contentType.isEmpty && start == UInt8(ascii: "<")) else { return nil }
        return parseHTML(body, at: address)
    }

    // MARK: JSON of nginx (name, type, mtime, size) and Caddy (name, is_dir, mod_time, size)

    private struct Record: Decodable {
        var name: String
        var type: String?
        var mtime: String?
        var size: UInt64?
        var isDirectory: Bool?
        var modificationTime: String?

        private enum CodingKeys: String, CodingKey {
            case name, type, mtime, size
            case isDirectory = "is_dir"
            case modificationTime = "mod_time"
        }
    }

    static func parseJSON(_ body: [UInt8]) -> [IndexItem]? {
        guard let records = try? JSONDecoder().decode([Record].self, from: Data(body)) else { return nil }
        return tidy(
            records.map { record in
                let isDirectory = record.isDirectory ?? (record.type == "directory")
                var name = Array(record.name.utf8)
                if name.last == UInt8(ascii: "/") { name.removeLast() }
                let modified =
                    record.mtime.flatMap { text in Array(text.utf8).withUnsafeBytes { Dates.parseHTTP($0) } }
                    ?? record.modificationTime.flatMap { Dates.parseISO8601($0) }
                return IndexItem(
                    name: name, isDirectory: isDirectory, size: isDirectory ? nil : record.size,
                    modified: isDirectory ? nil : modified)
            })
    }

    // MARK: HTML: every link to something right below the page

    static func parseHTML(_ body: [UInt8], at address: WebAddress) -> [IndexItem] {
        var items: [IndexItem] = []
        let text = String(decoding: body, as: UTF8.self)
        var rest = text[...]
        while let link = nextLink(&rest) {
            guard let target = address.resolve(unescape(link)), target.origin == address.origin, target.query == nil,
                target.path.hasPrefix(address.path)
            else { continue }
            var name = PercentEncoding.decodePath(target.path.dropFirst(address.path.count))
            let isDirectory = name.last == UInt8(ascii: "/")
            if isDirectory { name.removeLast() }
            items.append(IndexItem(name: name, isDirectory: isDirectory))
        }
        return tidy(items)
    }

    /// The href of the next <a>; `rest` goes on after it.
    private static func nextLink(_ rest: inout Substring) -> String? {
        while let open = rest.firstIndex(of: "<") {
            let tag = rest[rest.index(after: open)...].prefix { $0 != ">" }
            rest = rest[tag.endIndex...]
            guard tag.first == "a" || tag.first == "A", tag.dropFirst().first?.isWhitespace ?? false,
                let href = tag.range(ofAttribute: "href")
            else { continue }
            return String(tag[href])
        }
        return nil
    }

    private static func unescape(_ text: String) -> String {
        guard text.contains("&") else { return text }
        var out = ""
        var rest = text[...]
        while let start = rest.firstIndex(of: "&") {
            out += rest[..<start]
            rest = rest[start...]
            guard let end = rest.prefix(10).firstIndex(of: ";") else { break }
            let name = rest[rest.index(after: start)..<end]
            let scalar: Unicode.Scalar? =
                switch name {
                case "amp": "&"
                case "lt": "<"
                case "gt": ">"
                case "quot": "\""
                case "apos": "'"
                case _ where name.hasPrefix("#x"): UInt32(name.dropFirst(2), radix: 16).flatMap(Unicode.Scalar.init)
                case _ where name.hasPrefix("#"): UInt32(name.dropFirst()).flatMap(Unicode.Scalar.init)
                default: nil
                }
            if let scalar {
                out.unicodeScalars.append(scalar)
                rest = rest[rest.index(after: end)...]
            } else {
                out.append("&")
                rest = rest.dropFirst()
            }
        }
        return out + rest
    }

    /// In S3's order, each name once, and none that isn't the name of a file.
    private static func tidy(_ items: [IndexItem]) -> [IndexItem] {
        var seen: Set<[UInt8]> = []
        return items.filter { item in
            FileName.isValid(item.name)
                && seen.insert(item.name + (item.isDirectory ? [UInt8(ascii: "/")] : [])).inserted
        }
    }
}

enum FileName {
    /// One component of a path that a file system can show.
    static func isValid(_ name: [UInt8]) -> Bool {
        !name.isEmpty && name.count <= 255 && name != Array(".".utf8) && name != Array("..".utf8)
            && !name.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
    }
}

extension Substring {
    /// The value of an attribute in a tag, quoted or not.
    fileprivate func range(ofAttribute name: String) -> Range<Index>? {
        var at = startIndex
        while let equals = self[at...].firstIndex(of: "=") {
            let before = self[..<equals].reversed().drop { $0.isWhitespace }.prefix { !$0.isWhitespace }
            var value = self[index(after: equals)...].drop { $0.isWhitespace }
            if let quote = value.first, quote == "\"" || quote == "'" {
                value = value.dropFirst().prefix { $0 != quote }
            } else {
                value = value.prefix { !$0.isWhitespace }
            }
            if String(before.reversed()).lowercased() == name { return value.startIndex..<value.endIndex }
            at = value.endIndex < endIndex ? index(after: value.endIndex) : endIndex
        }
        return nil
    }
}
