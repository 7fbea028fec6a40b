import Glibc
import S3
import Threads

// One request's way: whose bucket and key, the faults, the signature, the operation, the answer.
extension S3Server {
    /// What a request addresses.
    struct Address {
        var operation: ServerOperation
        var bucket: String
        /// Of a listing: its prefix.
        var key: [UInt8]
    }

    func answer(_ original: HTTPRequest, on connection: HTTPConnection) throws(HTTPConnection.Closed) {
        var request = original
        if request.rawPath.hasPrefix("/__control") {
            try send(control(request), connection, options, nil)
            return
        }
        let options = options
        let address = address(of: request, options)
        let fault = takeFault(for: address)
        var entry = ServerLogEntry(
            operation: address.operation, method: request.method, bucket: address.bucket,
            key: String(decoding: address.key, as: UTF8.self), range: request.header("range"),
            ifMatch: request.header("if-match"), status: 0, bytes: 0)
        // Counted before the answer, so that whoever has it finds it here.
        let index = state.withLock { state in
            state.counts.requests += 1
            state.log.append(entry)
            return state.log.count - 1
        }
        func note(_ entry: ServerLogEntry) {
            state.withLock { state in
                state.counts.bytes += entry.bytes
                if index < state.log.count, state.log[index].key == entry.key { state.log[index] = entry }
            }
        }
        let latency = address.operation == .list ? options.listLatencyMs : options.latencyMs
        try connection.pause(ms: latency + (fault?.delayMs ?? 0))
        if fault?.isSilent == true { return try connection.pause(ms: .max) }
        if fault?.resetAfter == -1 {
            connection.resetOnClose()
            throw HTTPConnection.Closed()
        }
        if fault?.ignoresIfMatch == true { request.removeHeader("if-match") }
        var response =
            fault?.answer(to: request) ?? handle(request, address, options, ignoresRange: fault?.ignoresRange == true)
        response.isHead = request.method == "HEAD"
        if let fault {
            if let etag = fault.etag { response.set("ETag", "\"\(etag)\"") }
            for (name, value) in fault.headers ?? [:] { response.set(name, value) }
            if let seed = fault.replaceWithSeed, let old = object(address.bucket, ObjectKey(address.key)) {
                put(
                    address.bucket, ObjectKey(address.key),
                    StoredObject(.generated(size: old.body.size, seed: seed), modified: old.modified + 1))
            }
        }
        entry.status = response.status
        entry.bytes = response.isHead ? 0 : response.body.count
        note(entry)
        try send(response, connection, options, fault)
    }

    var options: Options { state.withLock { $0.options } }

    private func address(of request: HTTPRequest, _ options: Options) -> Address {
        let host = request.header("host")?.split(separator: ":").first.map(String.init) ?? ""
        let path = request.rawPath.utf8.first == UInt8(ascii: "/") ? request.rawPath.dropFirst() : request.rawPath[...]
        var bucket = ""
        var key: [UInt8] = []
        if let base = options.virtualHosts.first(where: { host.hasSuffix("." + $0) }) {
            bucket = String(host.dropLast(base.count + 1))
            key = percentDecoded(path)
        } else {
            let parts = path.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            bucket = String(decoding: percentDecoded(parts.first ?? ""), as: UTF8.self)
            key = parts.count > 1 ? percentDecoded(parts[1]) : []
        }
        let operation: ServerOperation =
            switch (request.method, key.isEmpty) {
            case ("GET", false): .get
            case ("HEAD", false): .head
            case ("PUT", false): .put
            case ("DELETE", false): .delete
            case ("HEAD", true): .headBucket
            case ("GET", true) where !bucket.isEmpty && request.parameter("location") == nil: .list
            default: .other
            }
        if operation == .list { key = request.parameter("prefix") ?? [] }
        return Address(operation: operation, bucket: bucket, key: key)
    }

    private func takeFault(for address: Address) -> ServerFault? {
        state.withLock { state in
            guard
                let index = state.faults.firstIndex(where: {
                    $0.matches(address.operation, address.bucket, address.key)
                })
            else { return nil }
            let fault = state.faults[index]
            if let skip = fault.skip, skip > 0 {
                state.faults[index].skip = skip - 1
                return nil
            }
            let left = (fault.count ?? 1) - 1
            state.faults[index].count = left
            if left == 0 { state.faults.remove(at: index) }
            return fault
        }
    }

    private func handle(
        _ request: HTTPRequest, _ address: Address, _ options: Options, ignoresRange: Bool
    ) -> HTTPResponse {
        if !options.credentials.isEmpty {
            let check = SignatureCheck(
                credentials: options.credentials, region: options.region, now: Int64(time(nil)) + options.clockOffset)
            if let refusal = check.refusal(of: request) { return refusal }
        }
        let key = ObjectKey(address.key)
        switch address.operation {
        case .get, .head: return read(request, address.bucket, key, ignoresRange: ignoresRange)
        case .put: return write(request, address.bucket, key)
        case .delete: return remove(address.bucket, key)
        case .list: return list(request, address.bucket, options)
        case .headBucket, .other: return bucketOperation(request, address.bucket, options)
        }
    }

    private func send(
        _ original: HTTPResponse, _ connection: HTTPConnection, _ options: Options, _ fault: ServerFault?
    ) throws(HTTPConnection.Closed) {
        var response = original
        let extra = fault?.extraBytes ?? 0
        response.set("Content-Length", String(response.body.count + UInt64(extra)))
        response.set("Date", Timestamp.http(Int64(time(nil)) + options.clockOffset))
        response.set("Server", "s3-embedded")
        response.set("x-amz-request-id", "TESTSUPPORT")
        var head = "HTTP/1.1 \(response.status) \(reason(response.status))\r\n"
        for (name, value) in response.headers { head += "\(name): \(value)\r\n" }
        let hasBody = !response.isHead && response.status != 204 && response.status != 304
        try connection.send(Array((head + "\r\n").utf8), more: hasBody && response.body.count > 0)
        guard hasBody else { return }

        let total = response.body.count
        let stop = [fault?.truncateAfter, fault?.resetAfter.map { UInt64(max(0, $0)) }, fault?.stallAfter]
            .compactMap { $0 }.min()
        let end = min(total, stop ?? total)
        let rate = fault?.bytesPerSecond ?? options.bytesPerSecond
        let step = rate > 0 ? UInt64(min(max(1, rate / 50), 256 * 1024)) : 256 * 1024
        var sent: UInt64 = 0
        let start = Instant.now
        while sent < end {
            let count = min(step, end - sent)
            switch response.body {
            case .bytes(let bytes): try connection.send(Array(bytes[Int(sent)..<Int(sent + count)]))
            case .object(let body, let range):
                let from = range.lowerBound + sent
                var isThere = true
                let bytes = [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, filled in
                    isThere = body.read(
                        at: from, into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: Int(count)))
                    filled = Int(count)
                }
                if !isThere { throw HTTPConnection.Closed() }
                try connection.send(bytes)
            }
            sent += count
            if rate > 0 {
                let due = Double(sent) / Double(rate) * 1000
                let ahead = due - Instant.now.ms(since: start)
                if ahead >= 1 { try connection.pause(ms: Int(ahead)) }
            }
        }
        guard stop == nil else {
            if fault?.stallAfter != nil { try connection.pause(ms: .max) }
            if fault?.resetAfter != nil { connection.resetOnClose() }
            throw HTTPConnection.Closed()
        }
        if extra > 0 { try connection.send([UInt8](repeating: UInt8(ascii: "X"), count: extra)) }
    }
}
