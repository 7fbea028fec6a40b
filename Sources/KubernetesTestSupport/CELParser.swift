import Kubernetes

/// Recursive descent over CEL's grammar, one function a precedence.
struct CELParser {
    private enum Token: Equatable {
        case identifier(String)
        case string(String)
        case number(Int)
        case sign(String)
        case end
    }

    private var tokens: [Token] = []
    private var i = 0

    init(_ text: String) throws {
        let characters = Array(text)
        var at = 0
        while at < characters.count {
            let c = characters[at]
            if c.isWhitespace {
                at += 1
            } else if c.isLetter || c == "_" {
                // r'…' is a raw string.
                if c == "r", at + 1 < characters.count, "'\"".contains(characters[at + 1]) {
                    tokens.append(.string(try Self.string(characters, &at, isRaw: true)))
                    continue
                }
                let start = at
                while at < characters.count, characters[at].isLetter || characters[at].isNumber || characters[at] == "_"
                {
                    at += 1
                }
                tokens.append(.identifier(String(characters[start..<at])))
            } else if c.isNumber {
                let start = at
                while at < characters.count, characters[at].isNumber { at += 1 }
                tokens.append(.number(Int(String(characters[start..<at])) ?? 0))
            } else if c == "'" || c == "\"" {
                tokens.append(.string(try Self.string(characters, &at, isRaw: false)))
            } else {
                let two = String(characters[at..<min(at + 2, characters.count)])
                if ["&&", "||", "==", "!=", "<=", ">="].contains(two) {
                    tokens.append(.sign(two))
                    at += 2
                } else if "!<>+-*?:.,()[]".contains(c) {
                    tokens.append(.sign(String(c)))
                    at += 1
                } else {
                    throw CEL.Problem("unexpected '\(c)'")
                }
            }
        }
        tokens.append(.end)
    }

    private static func string(_ characters: [Character], _ at: inout Int, isRaw: Bool) throws -> String {
        if isRaw { at += 1 }
        let quote = characters[at]
        at += 1
        var text = ""
        while at < characters.count, characters[at] != quote {
            if characters[at] == "\\", !isRaw, at + 1 < characters.count {
                at += 1
                switch characters[at] {
                case "n": text.append("\n")
                case "t": text.append("\t")
                default: text.append(characters[at])
                }
            } else {
                text.append(characters[at])
            }
            at += 1
        }
        guard at < characters.count else { throw CEL.Problem("a string has no end") }
        at += 1
        return text
    }

    private mutating func take(_ sign: String) -> Bool {
        guard tokens[i] == .sign(sign) else { return false }
        i += 1
        return true
    }

    private mutating func expect(_ sign: String) throws {
        guard take(sign) else { throw CEL.Problem("'\(sign)' is missing before \(tokens[i])") }
    }

    mutating func expectEnd() throws {
        guard tokens[i] == .end else { throw CEL.Problem("unexpected \(tokens[i])") }
    }

    mutating func expression() throws -> CEL.Node {
        let condition = try or()
        guard take("?") else { return condition }
        let yes = try or()
        try expect(":")
        return .choice(condition, yes, try expression())
    }

    private mutating func or() throws -> CEL.Node {
        var left = try and()
        while take("||") { left = .binary("||", left, try and()) }
        return left
    }

    private mutating func and() throws -> CEL.Node {
        var left = try relation()
        while take("&&") { left = .binary("&&", left, try relation()) }
        return left
    }

    private mutating func relation() throws -> CEL.Node {
        var left = try sum()
        while true {
            if case .sign(let sign) = tokens[i], ["==", "!=", "<", "<=", ">", ">="].contains(sign) {
                i += 1
                left = .binary(sign, left, try sum())
            } else if tokens[i] == .identifier("in") {
                i += 1
                left = .binary("in", left, try sum())
            } else {
                return left
            }
        }
    }

    private mutating func sum() throws -> CEL.Node {
        var left = try unary()
        while case .sign(let sign) = tokens[i], sign == "+" || sign == "-" {
            i += 1
            left = .binary(sign, left, try unary())
        }
        return left
    }

    private mutating func unary() throws -> CEL.Node {
        if take("!") { return .not(try unary()) }
        if take("-") { return .minus(try unary()) }
        return try postfix()
    }

    private mutating func postfix() throws -> CEL.Node {
        var node = try primary()
        while true {
            if take(".") {
                guard case .identifier(let name) = tokens[i] else { throw CEL.Problem("a name is missing after '.'") }
                i += 1
                node = take("(") ? .call(on: node, name, try arguments(until: ")")) : .member(node, name)
            } else if take("[") {
                node = .index(node, try expression())
                try expect("]")
            } else {
                return node
            }
        }
    }

    private mutating func primary() throws -> CEL.Node {
        let token = tokens[i]
        i += 1
        switch token {
        case .identifier("true"): return .literal(.bool(true))
        case .identifier("false"): return .literal(.bool(false))
        case .identifier("null"): return .literal(.null)
        case .identifier(let name):
            return take("(") ? .call(on: nil, name, try arguments(until: ")")) : .name(name)
        case .string(let text): return .literal(.string(text))
        case .number(let number): return .literal(.integer(number))
        case .sign("("):
            let node = try expression()
            try expect(")")
            return node
        case .sign("["): return .list(try arguments(until: "]"))
        default: throw CEL.Problem("unexpected \(token)")
        }
    }

    private mutating func arguments(until end: String) throws -> [CEL.Node] {
        var nodes: [CEL.Node] = []
        if take(end) { return nodes }
        while true {
            nodes.append(try expression())
            if take(end) { return nodes }
            try expect(",")
        }
    }
}
