import Controller
import Kubernetes

extension Dataset.RevisionRecord {
    var json: JSON {
        var json: JSON = [
            "id": .string(id), "manifest": .string(manifest), "createdAt": .string(createdAt),
            "objects": .integer(objects), "bytes": .integer(bytes), "digest": .string(digest),
            "source": .string(source),
        ]
        json["readyAt"] = readyAt.map { .string($0) }
        json["endpoint"] = endpoint.map { .string($0) }
        json["region"] = region.map { .string($0) }
        json["pathStyle"] = pathStyle.map { .bool($0) }
        return json
    }
}

extension Dataset.RevisionState {
    /// A merge patch leaves out nothing that was there before, so what isn't set is null; but for `current`, which is
    /// written by who moves the pointer, and by nobody else.
    var json: JSON {
        [
            "phase": .string(phase), "message": .string(String(message.prefix(1024))),
            "lastAttempt": lastAttempt.map { .string($0) } ?? .null, "next": next.map { .string($0) } ?? .null,
            "request": request.map { .string($0) } ?? .null,
        ]
    }
}
