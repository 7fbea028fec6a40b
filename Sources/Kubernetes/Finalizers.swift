extension Client {
    /// Takes one finalizer away and leaves the others. Nothing happens where it isn't there, or the object isn't. Fails
    /// with `isConflict` if the object was changed meanwhile.
    public func removeFinalizer<T: KubernetesObject>(_ finalizer: String, from object: T) async throws(APIError) {
        try await setFinalizers(of: object) { finalizers in finalizers.filter { $0 != finalizer } }
    }

    public func addFinalizer<T: KubernetesObject>(_ finalizer: String, to object: T) async throws(APIError) {
        try await setFinalizers(of: object) { $0.contains(finalizer) ? $0 : $0 + [finalizer] }
    }

    /// Takes the finalizers that begin so off every object of a kind, and answers of how many. None where the kind isn't
    /// served.
    public func removeFinalizers<T: KubernetesObject>(
        beginningWith prefix: String, from type: T.Type
    ) async throws(APIError) -> Int {
        let objects: [T]
        do throws(APIError) { objects = try await list(T.self).items } catch {
            guard error.isNotFound else { throw error }
            return 0
        }
        var count = 0
        for object in objects where object.metadata.finalizers?.contains(where: { $0.hasPrefix(prefix) }) ?? false {
            try await removeFinalizers(beginningWith: prefix, from: object)
            count += 1
        }
        return count
    }

    /// Also where somebody changes the object at the same time.
    private func removeFinalizers<T: KubernetesObject>(
        beginningWith prefix: String, from object: T
    ) async throws(APIError) {
        var object = object
        for attempt in 1... {
            do throws(APIError) {
                return try await setFinalizers(of: object) { $0.filter { !$0.hasPrefix(prefix) } }
            } catch {
                guard error.isConflict, attempt < 10 else { throw error }
            }
            do throws(APIError) {
                object = try await get(T.self, object.key.name, namespace: object.metadata.namespace)
            } catch {
                guard !error.isNotFound else { return }
                throw error
            }
        }
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
