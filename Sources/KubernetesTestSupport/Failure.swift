import Kubernetes

/// A refusal, as the API server words it in a Status.
struct Failure: Error {
    var code: Int
    var reason: String
    var message: String
    var details: JSON?

    var response: APIResponse {
        var status: JSON = [
            "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure", "message": .string(message),
            "reason": .string(reason), "code": .integer(code),
        ]
        status["details"] = details
        return APIResponse(status: code, headers: ["content-type": "application/json"], body: status.bytes)
    }

    private static func about(_ resource: Resource, _ name: String) -> JSON {
        var details: JSON = ["name": .string(name), "kind": .string(resource.plural)]
        if !resource.group.isEmpty { details["group"] = .string(resource.group) }
        return details
    }
    private static func full(_ resource: Resource) -> String {
        resource.group.isEmpty ? resource.plural : "\(resource.plural).\(resource.group)"
    }

    static func notFound(_ resource: Resource, _ name: String) -> Failure {
        Failure(
            code: 404, reason: "NotFound", message: "\(full(resource)) \"\(name)\" not found",
            details: about(resource, name))
    }
    static let noSuchPath = Failure(
        code: 404, reason: "NotFound", message: "the server could not find the requested resource", details: [:])
    static func alreadyExists(_ resource: Resource, _ name: String) -> Failure {
        Failure(
            code: 409, reason: "AlreadyExists", message: "\(full(resource)) \"\(name)\" already exists",
            details: about(resource, name))
    }
    static func conflict(_ resource: Resource, _ name: String, _ why: String? = nil) -> Failure {
        let why = why ?? "the object has been modified; please apply your changes to the latest version and try again"
        return Failure(
            code: 409, reason: "Conflict",
            message: "Operation cannot be fulfilled on \(full(resource)) \"\(name)\": \(why)",
            details: about(resource, name))
    }
    static func badRequest(_ message: String) -> Failure {
        Failure(code: 400, reason: "BadRequest", message: message)
    }
    static let expiredList = Failure(
        code: 410, reason: "Expired", message: "The resourceVersion for the provided list is too old.")
    static func expiredWatch(_ asked: Int, _ oldest: Int) -> Failure {
        Failure(code: 410, reason: "Expired", message: "too old resource version: \(asked) (\(oldest))")
    }
    static func terminating(_ resource: Resource, _ name: String, _ namespace: String) -> Failure {
        var details = about(resource, name)
        details["causes"] = [
            [
                "reason": "NamespaceTerminating", "message": .string("namespace \(namespace) is being terminated"),
                "field": "metadata.namespace",
            ]
        ]
        return Failure(
            code: 403, reason: "Forbidden",
            message: "\(full(resource)) \"\(name)\" is forbidden: unable to create new content in namespace "
                + "\(namespace) because it is being terminated", details: details)
    }

    /// One thing wrong with one field.
    struct Cause {
        var field: String
        var reason: String
        var message: String
    }

    static func invalid(_ resource: Resource, _ name: String, _ causes: [Cause]) -> Failure {
        let kind =
            resource.group.contains(".") && !resource.group.hasSuffix(".k8s.io")
            ? "\(resource.kind).\(resource.group)" : resource.kind
        let texts = causes.map { "\($0.field): \($0.message)" }
        let text = texts.count == 1 ? texts[0] : "[\(texts.joined(separator: ", "))]"
        var details: JSON = ["name": .string(name), "kind": .string(resource.kind)]
        if !resource.group.isEmpty { details["group"] = .string(resource.group) }
        details["causes"] = .array(
            causes.map {
                ["reason": .string($0.reason), "message": .string($0.message), "field": .string($0.field)]
            })
        return Failure(
            code: 422, reason: "Invalid", message: "\(kind) \"\(name)\" is invalid: \(text)", details: details)
    }
}
