/// Writing. Nothing here can delete, or replace by accident, an object of a Dataset: a PUT is refused where the key is
/// taken, and only what lies under a revisions prefix can be deleted or replaced.
extension S3Client {
    /// Stores a new object; answers its ETag. `.changed`: the key is taken already (where the server knows
    /// If-None-Match; others would replace it, so keys are made up fresh).
    public func put(
        _ key: ObjectKey, _ body: [UInt8], _ completion: @escaping @Sendable (Result<String, S3Error>) -> Void
    ) {
        var request = OutgoingRequest(method: "PUT", key: key)
        request.body = OutgoingBody(body)
        request.headers = [("If-None-Match", "*")]
        perform(.put, request) { completion($0.map(\.etag)) }
    }

    /// Stores an object of a Dataset's revisions, in place of the one that may be there.
    public func replace(
        _ key: RevisionKey, _ body: [UInt8], _ completion: @escaping @Sendable (Result<Void, S3Error>) -> Void
    ) {
        var request = OutgoingRequest(method: "PUT", key: key.objectKey)
        request.body = OutgoingBody(body)
        perform(.put, request) { completion($0.map { _ in }) }
    }

    /// Deletes one revision's object; that there is none is success.
    public func delete(_ key: RevisionKey, _ completion: @escaping @Sendable (Result<Void, S3Error>) -> Void) {
        perform(.delete, OutgoingRequest(method: "DELETE", key: key.objectKey)) { result in
            switch result {
            case .success, .failure(.noSuchKey): completion(.success(()))
            case .failure(let error): completion(.failure(error))
            }
        }
    }

    /// A page of the newest versions that aren't deleted, each with its version ID. `.badAnswer` where the server knows no
    /// versions.
    public func listVersions(
        _ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void
    ) {
        ListOperation(request, ofVersions: true, self, pickLane(), completion).submit()
    }

    func perform(
        _ name: OperationName, _ request: OutgoingRequest,
        _ completion: @escaping @Sendable (Result<UploadOperation.Answer, S3Error>) -> Void
    ) {
        UploadOperation(name, request, self, pickLane(), completion).submit()
    }
}

/// The key of a revision's manifest, or of the pointer to the newest: the only objects that this client deletes or
/// replaces.
public struct RevisionKey: Hashable, Sendable {
    /// The part of every such key that tells it from a Dataset's own objects.
    public static let directory = ".millrace/revisions/"

    public let objectKey: ObjectKey

    /// `PREFIX.millrace/revisions/OWNER/NAME`. Nil where a part is empty or would leave that directory.
    ///
    /// - Parameters:
    ///   - prefix: "" or ends in a slash.
    ///   - owner: the Dataset's UID.
    public init?(prefix: String = "", owner: String, name: String) {
        func isPart(_ text: String) -> Bool {
            !text.isEmpty && text != "." && text != ".."
                && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }
        }
        guard prefix.isEmpty || prefix.hasSuffix("/"), isPart(owner), isPart(name) else { return nil }
        objectKey = ObjectKey(prefix + Self.directory + owner + "/" + name)
    }
}
