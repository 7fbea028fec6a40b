import FoundationEssentials
import S3

/// The control interface, for tests that aren't written in Swift. It needs no signature and gets no faults.
///
///     PUT    /__control/object?bucket=B&key=K      the body is the object; with &size=N&seed=S it is generated;
///                                                  also &etag=, &storage-class=, &denied=1, &modified=SECONDS
///     DELETE /__control/object?bucket=B&key=K
///     POST   /__control/objects?bucket=B           many generated ones: a line each, KEY (percent-encoded) TAB SIZE TAB SEED
///     PUT, DELETE /__control/bucket?name=B         DELETE takes what is in it
///     POST   /__control/faults                     a ServerFault or a list of them, as JSON
///     DELETE /__control/faults
///     GET    /__control/log                        {"counts": …, "requests": [ServerLogEntry]}; DELETE empties it
///     PUT    /__control/options?latencyMs=N        also listLatencyMs, bytesPerSecond, clockOffset, pageLimit, maxConnections
///     PUT    /__control/credentials?accessKey=A&secretKey=S[&token=T]   the only ones from now on; none: anonymous
extension S3Server {
    func control(_ request: HTTPRequest) -> HTTPResponse {
        func bad(_ text: String) -> HTTPResponse { HTTPResponse(status: 400, body: .bytes(Array((text + "\n").utf8))) }
        let done = HTTPResponse(status: 204)
        let bucket = request.text("bucket") ?? ""
        let key = ObjectKey(request.parameter("key") ?? [])
        switch (request.method, request.rawPath.dropFirst("/__control/".count)) {
        case ("PUT", "object"):
            let size = request.text("size").flatMap { UInt64($0) }
            let seed = request.text("seed").flatMap { UInt64($0) } ?? 0
            var object = StoredObject(
                size.map { .generated(size: $0, seed: seed) } ?? .bytes(request.body), etag: request.text("etag"),
                storageClass: request.text("storage-class"), contentType: request.text("content-type"))
            if let modified = request.text("modified").flatMap({ Int64($0) }) { object.modified = modified }
            object.isDenied = request.parameter("denied") != nil
            put(bucket, key, object)
            return HTTPResponse(status: 200, body: .bytes(Array(object.etag.utf8)))
        case ("DELETE", "object"): delete(bucket, key)
        case ("POST", "objects"):
            for line in request.body.split(separator: 10) {
                let parts = String(decoding: line, as: UTF8.self).split(separator: "\t")
                guard parts.count == 3, let size = UInt64(parts[1]), let seed = UInt64(parts[2]) else {
                    return bad("not KEY TAB SIZE TAB SEED: \(String(decoding: line, as: UTF8.self))")
                }
                put(bucket, ObjectKey(percentDecoded(parts[0])), StoredObject(.generated(size: size, seed: seed)))
            }
        case ("PUT", "bucket"): createBucket(request.text("name") ?? "")
        case ("DELETE", "bucket"): removeBucket(request.text("name") ?? "")
        case ("POST", "faults"):
            let decoder = JSONDecoder()
            let json = Data(request.body)
            do {
                let isList = request.body.first { $0 > 32 } == UInt8(ascii: "[")
                let faults =
                    isList
                    ? try decoder.decode([ServerFault].self, from: json)
                    : [try decoder.decode(ServerFault.self, from: json)]
                let names =
                    try isList
                    ? decoder.decode([FaultNames].self, from: json) : [decoder.decode(FaultNames.self, from: json)]
                if let unknown = names.flatMap(\.unknown).first { return bad("no fault has the name \(unknown)") }
                for fault in faults { inject(fault) }
            } catch {
                return bad("not a fault: \(error)")
            }
        case ("DELETE", "faults"): clearFaults()
        case ("GET", "log"):
            struct Log: Codable {
                var counts: ServerCounts
                var requests: [ServerLogEntry]
            }
            let log = state.withLock { Log(counts: $0.counts, requests: $0.log) }
            guard let json = try? JSONEncoder().encode(log) else { return bad("the log can't be encoded") }
            return HTTPResponse(status: 200, headers: [("Content-Type", "application/json")], body: .bytes(Array(json)))
        case ("DELETE", "log"): clearLog()
        case ("PUT", "options"): return setOptions(request) ?? done
        case ("PUT", "credentials"):
            configure {
                $0.credentials =
                    request.text("accessKey").map {
                        [
                            ServerCredentials(
                                accessKey: $0, secretKey: request.text("secretKey") ?? "",
                                sessionToken: request.text("token"))
                        ]
                    } ?? []
            }
        default: return bad("no such control: \(request.method) \(request.rawPath)")
        }
        return done
    }

    /// Nil, or what is wrong.
    private func setOptions(_ request: HTTPRequest) -> HTTPResponse? {
        for (name, value) in request.query {
            let name = String(decoding: name, as: UTF8.self)
            guard let number = Int(String(decoding: value, as: UTF8.self)) else {
                return HTTPResponse(status: 400, body: .bytes(Array("\(name): not a number\n".utf8)))
            }
            var isKnown = true
            configure {
                switch name {
                case "latencyMs": $0.latencyMs = number
                case "listLatencyMs": $0.listLatencyMs = number
                case "bytesPerSecond": $0.bytesPerSecond = number
                case "clockOffset": $0.clockOffset = Int64(number)
                case "pageLimit": $0.pageLimit = number
                case "maxConnections": $0.maxConnections = number
                default: isKnown = false
                }
            }
            if !isKnown { return HTTPResponse(status: 400, body: .bytes(Array("\(name): no such option\n".utf8))) }
        }
        return nil
    }
}

/// The names in a fault's JSON: one that was mistyped would match every request, or do nothing.
private struct FaultNames: Decodable {
    var unknown: [String]

    private struct Name: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let known = Set(Mirror(reflecting: ServerFault { _ in }).children.compactMap(\.label))
        unknown = try decoder.container(keyedBy: Name.self).allKeys.map(\.stringValue).filter { !known.contains($0) }
    }
}
