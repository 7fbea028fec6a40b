import HTTPTypes
import Kubernetes

/// One route: how it is reached, what it takes and answers, and what it does. The router and the OpenAPI document are
/// both made of these, so that neither knows a route that the other doesn't.
struct Endpoint: Sendable {
    /// How errors look.
    enum Style: Sendable {
        /// application/problem+json.
        case problem
        /// PVCi's `{"error": "…"}`.
        case plain
    }

    struct Query: Sendable {
        var name: String
        var summary: String
    }

    struct Response: Sendable {
        var status: Int
        var summary: String
        var schema: Schema?
        init(_ status: Int, _ summary: String, _ schema: Schema? = nil) {
            self.status = status
            self.summary = summary
            self.schema = schema
        }
    }

    var method: HTTPRequest.Method
    /// With `{parameters}`.
    var path: String
    var id: String
    var summary: String
    var query: [Query] = []
    var body: Schema?
    /// An empty body is one as well: `.null`.
    var bodyIsOptional = false
    var responses: [Response]
    var style = Style.problem
    /// Answered without a token.
    var isPublic = false
    var handle: @Sendable (Call) async throws(Problem) -> Answer

    var parameters: [String] {
        path.split(separator: "/").compactMap { part in
            part.hasPrefix("{") ? String(part.dropFirst().dropLast()) : nil
        }
    }
}

/// A request that was let in.
struct Call: Sendable {
    var caller: Caller
    /// Of the path.
    var parameters: [String: String]
    var query: [String: String]
    /// `.null` where the route takes none.
    var body: JSON
    /// In PVCi's own shapes.
    var isCompat: Bool

    func name(_ parameter: String) throws(Problem) -> String {
        let text = parameters[parameter] ?? ""
        if let problem = nameProblem(text) { throw .badField("\(parameter) in the path \(problem)") }
        return text
    }

    func flag(_ name: String) throws(Problem) -> Bool {
        switch query[name] {
        case nil, "0", "false": return false
        case "", "1", "true": return true
        default: throw .badField("query \(name) must be 1 or 0")
        }
    }
}

struct Answer: Sendable {
    var status = 200
    var body: JSON?
    var headers: [(HTTPField.Name, String)] = []
    var contentType = "application/json"

    static let done = Answer(body: .object([:]))
}

/// The routes of one kind of resource.
protocol Routes: Sendable {
    var endpoints: [Endpoint] { get }
}
