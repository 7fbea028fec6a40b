import Kubernetes

/// What a CRD's `openAPIV3Schema` demands: types, bounds, enums, patterns, required fields and CEL rules, and what it
/// changes: defaults are filled in and unknown fields cut out. The subset that the project's CRDs use; an unknown
/// keyword fails the test that brings it.
struct StructuralSchema {
    let root: JSON

    private static let keywords: Set<String> = [
        "type", "description", "properties", "additionalProperties", "required", "items", "enum", "pattern", "format",
        "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "minProperties", "maxProperties",
        "default", "nullable", "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string",
        "example", "title",
    ]

    // MARK: Defaults and pruning

    func completed(_ object: JSON) -> JSON { Self.complete(object, root, isRoot: true) }

    private static func complete(_ value: JSON, _ schema: JSON, isRoot: Bool = false) -> JSON {
        switch value {
        case .object(let members):
            if schema["x-kubernetes-preserve-unknown-fields"]?.bool == true { return value }
            let properties = schema["properties"]?.object ?? [:]
            let others = schema["additionalProperties"]
            var result: [String: JSON] = [:]
            for (key, member) in members {
                if isRoot && ["apiVersion", "kind", "metadata"].contains(key) {
                    result[key] = member
                } else if let property = properties[key] {
                    // null is taken for "not there" where the field has a default.
                    if member == .null && property["default"] != nil && property["nullable"]?.bool != true { continue }
                    result[key] = complete(member, property)
                } else if let others {
                    result[key] = others.object == nil ? member : complete(member, others)
                }
            }
            for (key, property) in properties where result[key] == nil {
                if let preset = property["default"] { result[key] = complete(preset, property) }
            }
            return .object(result)
        case .array(let values):
            guard let items = schema["items"] else { return value }
            return .array(values.map { complete($0, items) })
        default: return value
        }
    }

    // MARK: Validation

    func causes(of object: JSON, old: JSON?) -> [Failure.Cause] {
        var causes: [Failure.Cause] = []
        Self.check(object, root, "", isRoot: true, &causes)
        if causes.isEmpty {
            Self.checkRules(object, old, root, "", &causes)
        } else if Self.hasRules(root) {
            causes.append(
                Failure.Cause(
                    field: "<nil>", reason: "FieldValueInvalid",
                    message: "Invalid value: null: some validation rules were not checked because the object was "
                        + "invalid; correct the existing errors to complete validation"))
        }
        return causes
    }

    private static func check(
        _ value: JSON, _ schema: JSON, _ path: String, isRoot: Bool = false, _ causes: inout [Failure.Cause]
    ) {
        for keyword in (schema.object ?? [:]).keys where !keywords.contains(keyword) {
            causes.append(
                Failure.Cause(field: path, reason: "StandIn", message: "schema keyword \(keyword) isn't known here"))
        }
        func wrong(_ message: String, _ reason: String = "FieldValueInvalid", at field: String? = nil) {
            causes.append(Failure.Cause(field: field ?? path, reason: reason, message: message))
        }
        if value == .null && schema["nullable"]?.bool == true { return }
        if let type = schema["type"]?.string, !has(value, type) {
            return wrong(
                "Invalid value: \"\(name(of: value))\": \(path) in body must be of type \(type): \"\(name(of: value))\"",
                "FieldValueTypeInvalid")
        }
        if let allowed = schema["enum"]?.array, !allowed.contains(value) {
            let names = allowed.map(\.description).joined(separator: ", ")
            wrong("Unsupported value: \(value): supported values: \(names)", "FieldValueNotSupported")
        }
        switch value {
        case .string(let text):
            if let least = schema["minLength"]?.integer, text.unicodeScalars.count < least {
                wrong("Invalid value: \(value): \(path) in body should be at least \(least) chars long")
            }
            if let most = schema["maxLength"]?.integer, text.unicodeScalars.count > most {
                wrong("Too long: may not be more than \(most) bytes", "FieldValueTooLong")
            }
            if let pattern = schema["pattern"]?.string, (try? Regex(pattern))?.firstMatchExists(in: text) != true {
                wrong("Invalid value: \(value): \(path) in body should match '\(pattern)'")
            }
        case .integer, .double:
            if let least = schema["minimum"]?.number, value.number! < least {
                wrong(
                    "Invalid value: \(value): \(path) in body should be greater than or equal to \(JSON.double(least))")
            }
            if let most = schema["maximum"]?.number, value.number! > most {
                wrong("Invalid value: \(value): \(path) in body should be less than or equal to \(JSON.double(most))")
            }
        case .array(let values):
            if let most = schema["maxItems"]?.integer, values.count > most {
                wrong("Too many: \(values.count): must have at most \(most) items", "FieldValueTooMany")
            }
            if let least = schema["minItems"]?.integer, values.count < least {
                wrong("Invalid value: \(values.count): \(path) in body should have at least \(least) items")
            }
            if schema["x-kubernetes-list-type"]?.string == "set", Set(values.map(\.description)).count < values.count {
                wrong("Duplicate value: \(value)", "FieldValueDuplicate")
            }
            if let items = schema["items"] {
                for (i, item) in values.enumerated() { check(item, items, "\(path)[\(i)]", &causes) }
            }
        case .object(let members):
            for field in schema["required"]?.array?.compactMap(\.string) ?? [] where members[field] == nil {
                wrong("Required value", "FieldValueRequired", at: join(path, field))
            }
            if let most = schema["maxProperties"]?.integer, members.count > most {
                wrong("Too many: \(members.count): must have at most \(most) items", "FieldValueTooMany")
            }
            let properties = schema["properties"]?.object ?? [:]
            for key in members.keys.sorted() {
                if isRoot && key == "metadata" { continue }
                if let property = properties[key] {
                    check(members[key]!, property, join(path, key), &causes)
                } else if let others = schema["additionalProperties"], others.object != nil {
                    check(members[key]!, others, "\(path)[\(key)]", &causes)
                }
            }
        default: break
        }
    }

    private static func checkRules(
        _ value: JSON, _ old: JSON?, _ schema: JSON, _ path: String, _ causes: inout [Failure.Cause]
    ) {
        for rule in schema["x-kubernetes-validations"]?.array ?? [] {
            guard let text = rule["rule"]?.string else { continue }
            let isTransition = text.contains("oldSelf")
            if isTransition && old == nil { continue }
            let message: String
            do {
                if try CEL(text).evaluate(["self": value, "oldSelf": old ?? .null]) == .bool(true) { continue }
                message = rule["message"]?.string ?? "failed rule: \(text)"
            } catch {
                message = "rule \(text) can't be evaluated: \(error)"
            }
            causes.append(
                Failure.Cause(
                    field: join(path, rule["fieldPath"]?.string.map { String($0.dropFirst()) } ?? ""),
                    reason: rule["reason"]?.string ?? "FieldValueInvalid", message: "Invalid value: \(message)"))
        }
        switch value {
        case .object(let members):
            for key in members.keys.sorted() {
                if let property = schema["properties"]?[key] {
                    checkRules(members[key]!, old?[key], property, join(path, key), &causes)
                } else if let others = schema["additionalProperties"], others.object != nil {
                    checkRules(members[key]!, old?[key], others, "\(path)[\(key)]", &causes)
                }
            }
        case .array(let values):
            guard let items = schema["items"] else { return }
            // Elements of a list aren't paired with old ones, as in Kubernetes (but for map lists, not used here).
            for (i, item) in values.enumerated() { checkRules(item, nil, items, "\(path)[\(i)]", &causes) }
        default: break
        }
    }

    private static func hasRules(_ schema: JSON) -> Bool {
        schema["x-kubernetes-validations"] != nil
            || (schema["properties"]?.object ?? [:]).values.contains(where: hasRules)
            || (schema["items"].map(hasRules) ?? false) || (schema["additionalProperties"].map(hasRules) ?? false)
    }

    private static func join(_ path: String, _ field: String) -> String {
        path.isEmpty ? field : field.isEmpty ? path : "\(path).\(field)"
    }

    private static func has(_ value: JSON, _ type: String) -> Bool {
        switch type {
        case "object": value.object != nil
        case "array": value.array != nil
        case "string": value.string != nil
        case "boolean": value.bool != nil
        case "integer": value.integer != nil
        case "number": value.number != nil
        default: false
        }
    }

    private static func name(of value: JSON) -> String {
        switch value {
        case .null: "null"
        case .bool: "boolean"
        case .integer: "integer"
        case .double: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

extension Regex {
    func firstMatchExists(in text: String) -> Bool { ((try? firstMatch(in: text)) ?? nil) != nil }
}
