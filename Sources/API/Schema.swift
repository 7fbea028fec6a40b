import Kubernetes

/// A JSON schema, as far as the API needs one, in OpenAPI 3.1's words.
indirect enum Schema: Sendable {
    case string(String? = nil)
    case choice([String])
    case integer(String? = nil)
    case number(String? = nil)
    case boolean(String? = nil)
    /// Any object, as Kubernetes defines it.
    case free(String)
    case list(Schema)
    case object([Field], closed: Bool)
    /// Of the document's components.
    case named(String)

    struct Field: Sendable {
        var name: String
        var schema: Schema
        var isRequired = false
    }

    static func fields(_ fields: Field..., closed: Bool = false) -> Schema { .object(fields, closed: closed) }

    var json: JSON {
        func typed(_ type: JSON, _ summary: String?) -> JSON {
            var json: JSON = ["type": type]
            json["description"] = summary.map { .string($0) }
            return json
        }
        switch self {
        case .string(let summary): return typed("string", summary)
        case .choice(let values): return ["type": "string", "enum": .array(values.map { .string($0) })]
        case .integer(let summary): return typed("integer", summary)
        case .number(let summary): return typed("number", summary)
        case .boolean(let summary): return typed("boolean", summary)
        case .free(let summary): return ["type": "object", "description": .string(summary)]
        case .list(let element): return ["type": "array", "items": element.json]
        case .named(let name): return ["$ref": .string("#/components/schemas/\(name)")]
        case .object(let fields, let isClosed):
            var json: JSON = [
                "type": "object",
                "properties": .object(Dictionary(uniqueKeysWithValues: fields.map { ($0.name, $0.schema.json) })),
            ]
            let required = fields.filter(\.isRequired).map { JSON.string($0.name) }
            if !required.isEmpty { json["required"] = .array(required) }
            if isClosed { json["additionalProperties"] = false }
            return json
        }
    }
}

extension Schema.Field {
    static func must(_ name: String, _ schema: Schema) -> Self { Self(name: name, schema: schema, isRequired: true) }
    static func may(_ name: String, _ schema: Schema) -> Self { Self(name: name, schema: schema) }
}
