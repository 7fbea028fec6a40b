import Kubernetes

extension JSON {
    /// RFC 7386.
    public func merged(with patch: JSON) -> JSON {
        guard case .object(let changes) = patch else { return patch }
        var result: JSON = object == nil ? [:] : self
        for (key, change) in changes {
            result[key] = change == .null ? nil : (result[key] ?? .null).merged(with: change)
        }
        return result
    }

    /// RFC 6902: add, remove, replace and test.
    func patched(with operations: [JSON]) throws -> JSON {
        var result = self
        let refused = Failure(
            code: 422, reason: "Invalid", message: "the server rejected our request due to an error in our request",
            details: [:])
        for operation in operations {
            guard let name = operation["op"]?.string, let pointer = operation["path"]?.string,
                pointer.hasPrefix("/")
            else { throw Failure.badRequest("a JSON patch needs op and path") }
            let path = pointer.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map {
                String($0).replacing("~1", with: "/").replacing("~0", with: "~")
            }
            switch name {
            case "test": guard result.value(at: path[...]) == operation["value"] else { throw refused }
            case "add", "replace", "remove":
                guard result.edit(path[...], name, operation["value"] ?? .null) else { throw refused }
            default: throw Failure.badRequest("JSON patch: op \(name) isn't known here")
            }
        }
        return result
    }

    private func value(at path: ArraySlice<String>) -> JSON? {
        guard let first = path.first else { return self }
        switch self {
        case .object(let members): return members[first]?.value(at: path.dropFirst())
        case .array(let values):
            guard let index = Int(first), values.indices.contains(index) else { return nil }
            return values[index].value(at: path.dropFirst())
        default: return nil
        }
    }

    private mutating func edit(_ path: ArraySlice<String>, _ operation: String, _ new: JSON) -> Bool {
        guard let first = path.first else {
            self = new
            return true
        }
        let isLast = path.count == 1
        switch self {
        case .object(var members):
            if isLast {
                if operation != "add" && members[first] == nil { return false }
                members[first] = operation == "remove" ? nil : new
            } else {
                guard members[first]?.edit(path.dropFirst(), operation, new) == true else { return false }
            }
            self = .object(members)
            return true
        case .array(var values):
            if isLast && operation == "add" {
                guard let index = first == "-" ? values.count : Int(first), index <= values.count else { return false }
                values.insert(new, at: index)
            } else {
                guard let index = Int(first), values.indices.contains(index) else { return false }
                if isLast && operation == "remove" {
                    values.remove(at: index)
                } else {
                    guard values[index].edit(path.dropFirst(), operation, new) else { return false }
                }
            }
            self = .array(values)
            return true
        default: return false
        }
    }

    /// The paths of everything that isn't an object with members: what server-side apply calls fields. Lists are one.
    func leaves(below path: [String] = []) -> Set<[String]> {
        guard case .object(let members) = self, !members.isEmpty || path.isEmpty else { return [path] }
        return members.reduce(into: []) { $0.formUnion($1.value.leaves(below: path + [$1.key])) }
    }

    mutating func remove(leaf path: ArraySlice<String>) {
        guard let first = path.first, var child = self[first] else { return }
        if path.count == 1 {
            self[first] = nil
        } else {
            child.remove(leaf: path.dropFirst())
            self[first] = child.object?.isEmpty == true ? nil : child
        }
    }
}
