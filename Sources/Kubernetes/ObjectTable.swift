import Threads

/// The objects of one kind as a watch last told, by key. What a program has just written may be put in at once, so that
/// it isn't asked for again before the watch brings it.
public final class ObjectTable<Object: KubernetesObject>: Sendable {
    private let objects = Locked<[ObjectKey: Object]>([:])

    public init() {}

    public subscript(key: ObjectKey) -> Object? { objects.withLock { $0[key] } }

    public var all: [Object] { objects.withLock { Array($0.values) } }

    /// Answers what was there before.
    @discardableResult
    public func set(_ object: Object) -> Object? { objects.withLock { $0.updateValue(object, forKey: object.key) } }

    @discardableResult
    public func remove(_ key: ObjectKey) -> Object? { objects.withLock { $0.removeValue(forKey: key) } }

    /// These are all there are; answers all that were there before.
    func replace(with new: [Object]) -> [Object] {
        let new = Dictionary(new.map { ($0.key, $0) }) { $1 }
        return objects.withLock { objects in
            defer { objects = new }
            return Array(objects.values)
        }
    }
}
