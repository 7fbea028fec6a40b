import Controller

/// What the API writes on the objects it makes.
enum Labels {
    /// On everything that the API made; only such claims are ever changed or deleted by it.
    static let service = "millrace.dev/service"
    static let serviceValue = "millrace"
    static let version = "millrace.dev/version"
    /// The claim's name, on what belongs to it.
    static let volume = "millrace.dev/volume"
    /// The import's name, on a claim that is filled by one.
    static let job = "millrace.dev/job"

    // Annotations.
    static let requestedSize = "millrace.dev/requested-size"
    static let objectCount = "millrace.dev/object-count"
    static let origin = "millrace.dev/origin"

    static let selector = "\(service)=\(serviceValue)"

    static func make(for name: String, version: String) -> [String: String] {
        [service: serviceValue, self.version: version, volume: name]
    }
}
