extension Client {
    /// Takes one finalizer away and leaves the others. Nothing happens where it isn't there, or the object isn't. Fails
    /// with `isConflict` if the object was changed meanwhile.
    public func removeFinalizer<T: KubernetesObject>(_ finalizer: String, from object: T) async throws(APIError) {
        try await setFinalizers(of: object) { finalizers in finalizers.filter { $0 != finalizer } }
    }

    public func addFinalizer<T: KubernetesObject>(_ finalizer: String, to object: T) async throws(APIError) {
        try await setFinalizers(of: object) { $0.contains(finalizer) ? $0 : $0 + [finalizer] }
    }

    private func setFinalizers<T: KubernetesObject>(
        of object: T, _ change: ([String]) -> [String]
    ) async throws(APIError) {
        let old = object.metadata.finalizers ?? []
        let new = change(old)
        guard new != old, let name = object.metadata.name else { return }
        // With the version that was read, as a list can only be replaced whole.
        var patch: JSON = ["metadata": ["finalizers": .array(new.map { .string($0) })]]
        patch.set("metadata", "resourceVersion", to: object.metadata.resourceVersion.map { .string($0) })
        patch.set("metadata", "uid", to: object.metadata.uid.map { .string($0) })
        do throws(APIError) {
            try await self.patch(T.self, name, namespace: object.metadata.namespace, merge: patch)
        } catch {
            guard error.isNotFound else { throw error }
        }
    }
}
