import Kubernetes

/// The part of the Common Expression Language that CRD rules here use: literals, member access, indexing, `has()`,
/// operators with CEL's precedence, `?:`, string and list functions, and the macros all, exists, exists_one, filter, map.
struct CEL {
    struct Problem: Error, CustomStringConvertible {
        var description: String
        init(_ description: String) { self.description = description }
    }

    indirect enum Node {
        case literal(JSON)
        case name(String)
        case list([Node])
        case member(Node, String)
        case index(Node, Node)
        case call(on: Node?, String, [Node])
        case not(Node)
        case minus(Node)
        case binary(String, Node, Node)
        case choice(Node, Node, Node)
    }

    let node: Node

    init(_ text: String) throws {
        var parser = try CELParser(text)
        node = try parser.expression()
        try parser.expectEnd()
    }

    func evaluate(_ variables: [String: JSON]) throws -> JSON { try Self.value(node, variables) }

    private static func value(_ node: Node, _ scope: [String: JSON]) throws -> JSON {
        switch node {
        case .literal(let value): return value
        case .name(let name):
            guard let value = scope[name] else { throw Problem("undeclared reference to '\(name)'") }
            return value
        case .list(let nodes): return .array(try nodes.map { try value($0, scope) })
        case .member(let base, let name):
            guard let value = try value(base, scope)[name] else { throw Problem("no such key: \(name)") }
            return value
        case .index(let base, let index):
            let base = try value(base, scope)
            let index = try value(index, scope)
            if let key = index.string, let value = base[key] { return value }
            if let i = index.integer, let values = base.array, values.indices.contains(i) { return values[i] }
            throw Problem("no such key or index: \(index)")
        case .not(let operand): return .bool(!(try bool(operand, scope)))
        case .minus(let operand):
            guard let number = try value(operand, scope).integer else { throw Problem("- needs a number") }
            return .integer(-number)
        case .choice(let condition, let yes, let no):
            return try value(try bool(condition, scope) ? yes : no, scope)
        case .binary(let sign, let left, let right): return try binary(sign, left, right, scope)
        case .call(let target, let name, let arguments): return try call(target, name, arguments, scope)
        }
    }

    private static func bool(_ node: Node, _ scope: [String: JSON]) throws -> Bool {
        guard let result = try value(node, scope).bool else { throw Problem("a condition isn't a bool") }
        return result
    }

    private static func binary(_ sign: String, _ left: Node, _ right: Node, _ scope: [String: JSON]) throws -> JSON {
        // && and || don't care about an error on one side if the other decides.
        if sign == "&&" || sign == "||" {
            let deciding = sign == "||"
            let first = Result { try bool(left, scope) }
            if case .success(deciding) = first { return .bool(deciding) }
            if try bool(right, scope) == deciding { return .bool(deciding) }
            return .bool(try first.get())
        }
        let a = try value(left, scope)
        let b = try value(right, scope)
        switch sign {
        case "==": return .bool(a == b)
        case "!=": return .bool(a != b)
        case "in":
            if let values = b.array { return .bool(values.contains(a)) }
            return .bool(a.string.map { b[$0] != nil } ?? false)
        case "+":
            if let x = a.integer, let y = b.integer { return .integer(x + y) }
            if let x = a.string, let y = b.string { return .string(x + y) }
            if let x = a.array, let y = b.array { return .array(x + y) }
        case "-": if let x = a.integer, let y = b.integer { return .integer(x - y) }
        case "<", "<=", ">", ">=":
            let order: Int
            if let x = a.number, let y = b.number {
                order = x < y ? -1 : x > y ? 1 : 0
            } else if let x = a.string, let y = b.string {
                order = x < y ? -1 : x > y ? 1 : 0
            } else {
                break
            }
            return .bool(sign == "<" ? order < 0 : sign == "<=" ? order <= 0 : sign == ">" ? order > 0 : order >= 0)
        default: break
        }
        throw Problem("no matching overload for '\(sign)'")
    }

    private static func call(
        _ target: Node?, _ name: String, _ arguments: [Node], _ scope: [String: JSON]
    ) throws -> JSON {
        if target == nil, name == "has", case .member(let base, let field)? = arguments.first {
            return .bool(try value(base, scope)[field] != nil)
        }
        guard let target else {
            guard name == "size", let first = arguments.first else { throw Problem("unknown function \(name)") }
            return try call(first, "size", [], scope)
        }
        let receiver = try value(target, scope)
        if ["all", "exists", "exists_one", "filter", "map"].contains(name) {
            return try macro(name, receiver, arguments, scope)
        }
        let values = try arguments.map { try value($0, scope) }
        if name == "size", values.isEmpty {
            if let text = receiver.string { return .integer(text.unicodeScalars.count) }
            if let count = receiver.array?.count ?? receiver.object?.count { return .integer(count) }
        }
        if let text = receiver.string, let argument = values.first?.string {
            switch name {
            case "startsWith": return .bool(text.hasPrefix(argument))
            case "endsWith": return .bool(text.hasSuffix(argument))
            case "contains": return .bool(text.contains(argument))
            case "matches": return .bool(try Regex(argument).firstMatchExists(in: text))
            case "split":
                return .array(
                    text.split(separator: argument, omittingEmptySubsequences: false).map { .string(String($0)) })
            default: break
            }
        }
        throw Problem("no matching overload for '\(name)'")
    }

    private static func macro(
        _ name: String, _ receiver: JSON, _ arguments: [Node], _ scope: [String: JSON]
    ) throws -> JSON {
        guard arguments.count == 2, case .name(let variable) = arguments[0] else {
            throw Problem("\(name) needs a variable and an expression")
        }
        let items = receiver.array ?? receiver.object?.keys.sorted().map { .string($0) } ?? []
        var scope = scope
        func result(_ item: JSON) throws -> JSON {
            scope[variable] = item
            return try value(arguments[1], scope)
        }
        switch name {
        case "all": return .bool(try items.allSatisfy { try result($0) == .bool(true) })
        case "exists": return .bool(try items.contains { try result($0) == .bool(true) })
        case "exists_one": return .bool(try items.filter { try result($0) == .bool(true) }.count == 1)
        case "filter": return .array(try items.filter { try result($0) == .bool(true) })
        default: return .array(try items.map(result))
        }
    }
}
