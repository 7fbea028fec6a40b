import Kubernetes

/// The OpenAPI 3.1 document of a set of routes.
enum OpenAPI {
    static func document(_ endpoints: [Endpoint], version: String) -> JSON {
        var paths: [String: JSON] = [:]
        for endpoint in endpoints {
            var path = paths[endpoint.path] ?? .object([:])
            path[endpoint.method.rawValue.lowercased()] = operation(endpoint)
            paths[endpoint.path] = path
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "Millrace", "version": .string(version),
                "description": "Datasets in S3 as volumes: claims without a copy, imports, sizes, credentials.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/"]], "security": [["bearer": []]], "paths": .object(paths),
            "components": [
                "securitySchemes": [
                    "bearer": [
                        "type": "http", "scheme": "bearer",
                        "description": "A Kubernetes token; what it may do is what RBAC lets its owner do.",
                    ]
                ], "schemas": .object(Schemas.named.mapValues(\.json)),
            ],
        ]
    }

    private static func operation(_ endpoint: Endpoint) -> JSON {
        var parameters = endpoint.parameters.map { name -> JSON in
            ["name": .string(name), "in": "path", "required": true, "schema": ["type": "string"]]
        }
        parameters += endpoint.query.map {
            [
                "name": .string($0.name), "in": "query", "required": false, "description": .string($0.summary),
                "schema": ["type": "string"],
            ]
        }
        var responses: [String: JSON] = [:]
        for response in endpoint.responses { responses[String(response.status)] = self.response(response) }
        let isPlain = endpoint.style == .plain
        let error = isPlain ? Schema.named("Error") : .named("Problem")
        let kind = isPlain ? "application/json" : "application/problem+json"
        responses["default"] = [
            "description": "It wasn't done; the message says why and what to do.",
            "content": .object([kind: ["schema": error.json]]),
        ]
        var operation: JSON = [
            "operationId": .string(endpoint.id), "summary": .string(endpoint.summary), "responses": .object(responses),
        ]
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body = endpoint.body {
            operation["requestBody"] = [
                "required": .bool(!endpoint.bodyIsOptional), "content": ["application/json": ["schema": body.json]],
            ]
        }
        if endpoint.isPublic { operation["security"] = [] }
        return operation
    }

    private static func response(_ response: Endpoint.Response) -> JSON {
        var json: JSON = ["description": .string(response.summary)]
        if let schema = response.schema { json["content"] = ["application/json": ["schema": schema.json]] }
        if [201, 202].contains(response.status) {
            json["headers"] = [
                "Location": ["description": "Where it is.", "schema": ["type": "string"]]
            ]
        }
        return json
    }
}
