import HTTPTypes
import Hummingbird
import Kubernetes
import Logging
import NIOCore
import PrometheusMetrics
import Threads

/// What a request brings with it.
struct Context: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Of the other side, without its port.
    let address: String

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        address = source.channel.remoteAddress?.ipAddress ?? "?"
    }
}

/// Takes a request from Hummingbird through the gatekeeper to its endpoint, and the answer back.
struct Dispatcher: Sendable {
    let gatekeeper: Gatekeeper
    let metrics: APIMetrics
    let mostBodyBytes: Int
    /// This listener speaks as PVCi does.
    let isCompat: Bool
    let logger: Logger

    func router(_ endpoints: [Endpoint]) -> Router<Context> {
        let router = Router(context: Context.self)
        router.add(middleware: Nowhere { self.nowhere() })
        for endpoint in endpoints {
            router.on(RouterPath(endpoint.path), method: endpoint.method) { request, context in
                await respond(to: request, context, endpoint)
            }
        }
        for (path, known) in Dictionary(grouping: endpoints, by: \.path) {
            let allowed = known.map(\.method.rawValue).sorted().joined(separator: ", ")
            let style = known[0].style
            for method: HTTPRequest.Method in [.get, .put, .post, .delete, .patch]
            where !known.contains(where: { $0.method == method }) {
                router.on(RouterPath(path), method: method) { _, _ in
                    let problem = Problem(405, "MethodNotAllowed", "\(path) takes \(allowed)")
                    var response = self.response(problem, style, isCompat: false)
                    response.headers[.allow] = allowed
                    return response
                }
            }
        }
        return router
    }

    /// For paths that no endpoint has.
    private func nowhere() -> Response {
        let problem = Problem(404, "NoSuchPath", "there is nothing at this path; GET /openapi.json says what there is")
        return response(problem, isCompat ? .plain : .problem, isCompat: false)
    }

    private func respond(to request: Request, _ context: Context, _ endpoint: Endpoint) async -> Response {
        let started = Instant.now
        let isCompat = isCompat || ["1", "true"].contains(request.uri.queryParameters["compat"].map(String.init))
        var user = ""
        var response: Response
        do throws(Problem) {
            let (caller, answer) = try await gatekeeper.withRoom { () async throws(Problem) in
                try await perform(request, context, endpoint, isCompat)
            }
            user = caller.username ?? ""
            response = self.response(answer)
        } catch {
            response = self.response(error, endpoint.style, isCompat: isCompat)
        }
        let ms = Instant.now.ms(since: started)
        metrics.answered(endpoint, status: response.status.code, seconds: ms / 1000)
        logger.debug(
            "answered",
            metadata: [
                "route": "\(endpoint.id)", "status": "\(response.status.code)", "ms": "\(Int(ms))", "user": "\(user)",
            ])
        return response
    }

    private func perform(
        _ request: Request, _ context: Context, _ endpoint: Endpoint, _ isCompat: Bool
    ) async throws(Problem) -> (Caller, Answer) {
        var call = Call(caller: Caller(), parameters: [:], query: [:], body: .null, isCompat: isCompat)
        if !endpoint.isPublic {
            call.caller = try await gatekeeper.admit(
                authorization: request.headers[.authorization], address: context.address, isCompat: self.isCompat)
        }
        for name in endpoint.parameters {
            call.parameters[name] = context.parameters.get(name) ?? ""
        }
        for (name, value) in request.uri.queryParameters { call.query[String(name)] = String(value) }
        if endpoint.body != nil { call.body = try await body(request, endpoint) }
        return (call.caller, try await endpoint.handle(call))
    }

    private func body(_ request: Request, _ endpoint: Endpoint) async throws(Problem) -> JSON {
        let tooLarge = Problem(413, "BodyTooLarge", "the body is larger than \(mostBodyBytes) bytes")
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > mostBodyBytes { throw tooLarge }
        // PVCi's clients say anything or nothing about what they send.
        if endpoint.style == .problem, request.headers[.contentLength] != "0", let type = request.headers[.contentType],
            !type.hasPrefix("application/json")
        {
            throw Problem(415, "UnsupportedMediaType", "the body must be application/json")
        }
        let buffer: ByteBuffer
        do { buffer = try await request.body.collect(upTo: mostBodyBytes) } catch is NIOTooManyBytesError {
            throw tooLarge
        } catch {
            throw .badField("the body can't be read to its end")
        }
        if endpoint.bodyIsOptional, buffer.readableBytes == 0 { return .null }
        do throws(JSONError) { return try JSON(parsing: Array(buffer.readableBytesView)) } catch {
            throw .badField("unable to read post body: \(error)")
        }
    }

    // MARK: Answers

    private func response(_ answer: Answer) -> Response {
        var response = Response(status: HTTPResponse.Status(code: answer.status))
        for (name, value) in answer.headers { response.headers[name] = value }
        if let body = answer.body { fill(&response, body, answer.contentType) }
        return response
    }

    private func response(_ problem: Problem, _ style: Endpoint.Style, isCompat: Bool) -> Response {
        var status = problem.status
        // PVCi knows one status for what it can't do; who may call at all, and how often, is said in HTTP's own words.
        if style == .plain, isCompat, ![401, 403, 413, 429, 503].contains(status) { status = 400 }
        var response = Response(status: HTTPResponse.Status(code: status))
        if let seconds = problem.retryAfterSeconds { response.headers[.retryAfter] = String(seconds) }
        if status == 401 { response.headers[.wwwAuthenticate] = "Bearer" }
        switch style {
        case .plain: fill(&response, ["error": .string(problem.message)], "application/json")
        case .problem: fill(&response, problem.document, "application/problem+json")
        }
        return response
    }

    private func fill(_ response: inout Response, _ body: JSON, _ contentType: String) {
        response.headers[.contentType] = contentType
        response.headers[.cacheControl] = "no-store"
        response.headers[HTTPField.Name("X-Content-Type-Options")!] = "nosniff"
        response.body = ResponseBody(byteBuffer: ByteBuffer(bytes: body.bytes))
    }
}

/// Says in our own words that there is no such path.
private struct Nowhere: RouterMiddleware {
    let answer: @Sendable () -> Response

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        do { return try await next(request, context) } catch let error as HTTPError where error.status == .notFound {
            return answer()
        }
    }
}
