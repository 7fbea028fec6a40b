import NodeProtocol
import S3

/// One kind of source on the node: makes a session's object store of what the plugin sent. A new kind is one file with
/// one of these, and a line in `HostedSources`.
protocol HostedSource: Sendable {
    func serves(_ spec: SessionSpec) -> Bool

    /// Opens a session's store. Makes no request.
    func open(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> OpenSource
}

/// A session's object store, with what may be asked of it besides.
struct OpenSource: Sendable {
    var store: any ObjectStore
    /// Asks once whether it can be read, so that what is wrong is told before a pod starts. Blocks, some seconds at most.
    var check: @Sendable () throws(NodeError) -> Void
    /// Goes on with other credentials; tries them first where they are another owner's.
    var renew: @Sendable (_ credentials: SessionCredentials, _ triesFirst: Bool) throws(NodeError) -> Void
}

extension NodeError.Reason {
    /// For the plugin, and so for Kubernetes: what may pass is tried again, the rest is told to people.
    init(_ error: S3Error) {
        self =
            switch error {
            case .noSuchBucket, .noSuchKey: .notFound
            case .denied, .credentials: .denied
            case .network, .timedOut, .cancelled: .unavailable
            case .status(let status, _, _): status >= 500 || status == 429 ? .unavailable : .failed
            case .changed, .archived, .badAnswer: .failed
            }
    }
}
