import Controller
import Kubernetes

/// A request's JSON object, read field by field; what is wrong is said with the field's name and never with its value,
/// which may be a key.
struct Fields {
    private let members: [String: JSON]
    /// "" or the path before, with a dot at its end.
    private let path: String

    init(_ json: JSON, path: String = "") throws(Problem) {
        guard let members = json.object else {
            throw .badField(path.isEmpty ? "the body must be a JSON object" : "\(path) must be an object")
        }
        self.members = members
        self.path = path.isEmpty ? "" : path + "."
    }

    /// Refuses fields that nobody would look at.
    func allow(_ names: String...) throws(Problem) {
        if let stranger = members.keys.sorted().first(where: { !names.contains($0) }) {
            throw .badField("\(path)\(stranger.prefix(64)) isn't known; known are \(names.joined(separator: ", "))")
        }
    }

    private func value(_ name: String) -> JSON? {
        let value = members[name]
        return value == .null ? nil : value
    }

    func text(_ name: String, most: Int = 1024) throws(Problem) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.string else { throw .badField("\(path)\(name) must be a string, not \(value.kind)") }
        guard text.utf8.count <= most else { throw .badField("\(path)\(name) is longer than \(most) bytes") }
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw .badField("\(path)\(name) has a control character in it")
        }
        return text
    }

    /// Text with several lines, as certificates.
    func lines(_ name: String, most: Int) throws(Problem) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.string else { throw .badField("\(path)\(name) must be a string, not \(value.kind)") }
        guard text.utf8.count <= most else { throw .badField("\(path)\(name) is longer than \(most) bytes") }
        return text
    }

    func required(_ name: String, most: Int = 1024) throws(Problem) -> String {
        guard let text = try text(name, most: most), !text.isEmpty else { throw .badField("\(path)\(name) is missing") }
        return text
    }

    /// The name of an object or a namespace.
    func objectName(_ name: String) throws(Problem) -> String {
        let text = try required(name, most: 253)
        if let problem = nameProblem(text) { throw .badField("\(path)\(name) \(problem)") }
        return text
    }

    func bool(_ name: String) throws(Problem) -> Bool? {
        guard let value = value(name) else { return nil }
        guard let bool = value.bool else { throw .badField("\(path)\(name) must be true or false, not \(value.kind)") }
        return bool
    }

    func object(_ name: String) throws(Problem) -> Fields? {
        guard let value = value(name) else { return nil }
        return try Fields(value, path: path + name)
    }

    func json(_ name: String) -> JSON? { value(name) }
    func has(_ name: String) -> Bool { value(name) != nil }
}

/// Why a text can't be the name of an object that is a label's value as well; nil: it can.
func nameProblem(_ text: String) -> String? {
    let isFine = text.utf8.allSatisfy {
        (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e
    }
    let hasEnds = text.first.map { $0 != "-" && $0 != "." } == true && text.last.map { $0 != "-" && $0 != "." } == true
    if !isFine || !hasEnds || text.contains("..") {
        return "must be a name of lower-case letters, digits, '-' and '.' that begins and ends with a letter or digit"
    }
    return text.utf8.count > 63 ? "is longer than 63 bytes" : nil
}

extension JSON {
    fileprivate var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .double: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }
}
