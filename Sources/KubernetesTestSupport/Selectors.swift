import Kubernetes

/// `labelSelector` and `fieldSelector` of a URL.
struct Selector: Sendable {
    private var labels = LabelSelector()
    private var fields: [(path: [String], value: String, isEqual: Bool)] = []

    init(labelSelector: String?, fieldSelector: String?) throws {
        for part in Self.split(labelSelector ?? "") { try add(label: part) }
        for part in Self.split(fieldSelector ?? "") {
            let isEqual = !part.contains("!=")
            let sides = part.split(separator: "=", maxSplits: 2).map(String.init)
            guard sides.count == 2 else { throw Failure.badRequest("invalid field selector \(part)") }
            let path = (isEqual ? sides[0] : String(sides[0].dropLast())).split(separator: ".").map(String.init)
            fields.append((path, sides[1], isEqual))
        }
    }

    /// At commas outside parentheses.
    private static func split(_ text: String) -> [String] {
        var parts: [String] = []
        var part = ""
        var depth = 0
        for character in text {
            if character == "(" { depth += 1 }
            if character == ")" { depth -= 1 }
            if character == "," && depth == 0 {
                parts.append(part)
                part = ""
            } else {
                part.append(character)
            }
        }
        parts.append(part)
        return parts.map { $0.trimmed }.filter { !$0.isEmpty }
    }

    private mutating func add(label part: String) throws {
        func require(_ key: String, _ operation: String, _ values: [String]) {
            labels.matchExpressions =
                (labels.matchExpressions ?? []) + [
                    LabelSelector.Requirement(key: key, operator: operation, values: values)
                ]
        }
        if part.hasPrefix("!") { return require(String(part.dropFirst()), "DoesNotExist", []) }
        if let open = part.firstIndex(of: "("), part.hasSuffix(")") {
            let words = part[..<open].split(separator: " ").map(String.init)
            let values = part[part.index(after: open)...].dropLast().split(separator: ",").map { String($0).trimmed }
            guard words.count == 2, words[1] == "in" || words[1] == "notin" else {
                throw Failure.badRequest("unable to parse requirement: \(part)")
            }
            return require(words[0], words[1] == "in" ? "In" : "NotIn", values)
        }
        if let sign = part.range(of: "!=") {
            return require(String(part[..<sign.lowerBound]), "NotIn", [String(part[sign.upperBound...])])
        }
        if let sign = part.firstIndex(of: "=") {
            let value = part[part.index(after: sign)...].drop { $0 == "=" }
            return require(String(part[..<sign]).trimmed, "In", [String(value).trimmed])
        }
        require(part, "Exists", [])
    }

    func matches(_ object: JSON) -> Bool {
        guard labels.matches(object.at("metadata", "labels")?.object?.compactMapValues(\.string)) else { return false }
        return fields.allSatisfy { field in
            var value: JSON? = object
            for name in field.path { value = value?[name] }
            return ((value?.string ?? "") == field.value) == field.isEqual
        }
    }
}

extension String {
    var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text = text.dropFirst() }
        while text.last?.isWhitespace == true { text = text.dropLast() }
        return String(text)
    }

    fileprivate func range(of sign: String) -> Range<String.Index>? { ranges(of: sign).first }
}
