import Glibc
import S3

/// The objects of a bucket in key order, and S3's way of listing them.
struct ObjectTable: Sendable {
    private(set) var keys: [ObjectKey] = []
    private var objects: [ObjectKey: StoredObject] = [:]

    var count: Int { keys.count }

    subscript(key: ObjectKey) -> StoredObject? {
        get { objects[key] }
        set {
            if let newValue {
                if objects.updateValue(newValue, forKey: key) == nil { keys.insert(key, at: index(notBefore: key)) }
            } else if objects.removeValue(forKey: key) != nil {
                keys.remove(at: index(notBefore: key))
            }
        }
    }

    /// Where a listing goes on.
    enum Position: Sendable, Equatable {
        case start
        case after(ObjectKey)
        /// After every key that begins so.
        case afterPrefix(ObjectKey)

        /// As an opaque continuation token.
        var token: String? {
            switch self {
            case .start: nil
            case .after(let key): "k" + hex(key.bytes)
            case .afterPrefix(let key): "p" + hex(key.bytes)
            }
        }

        init?(token: String) {
            guard let kind = token.first, let bytes = unhex(token.dropFirst()) else { return nil }
            switch kind {
            case "k": self = .after(ObjectKey(bytes))
            case "p": self = .afterPrefix(ObjectKey(bytes))
            default: return nil
            }
        }
    }

    enum Entry: Sendable {
        case object(ObjectKey, StoredObject)
        case prefix(ObjectKey)
    }

    /// One page of at most `maxKeys` objects and common prefixes; `next` is nil on the last.
    func list(
        prefix: ObjectKey, delimiter: [UInt8]?, from position: Position, maxKeys: Int
    ) -> (entries: [Entry], next: Position?) {
        var entries: [Entry] = []
        var index = max(start(of: position), index(notBefore: prefix))
        var last = position
        while index < keys.count, keys[index].bytes.starts(with: prefix.bytes) {
            if entries.count == maxKeys { return (entries, maxKeys == 0 ? nil : last) }
            let key = keys[index]
            if let delimiter, let end = key.bytes.end(of: delimiter, from: prefix.bytes.count) {
                let common = ObjectKey(Array(key.bytes[..<end]))
                entries.append(.prefix(common))
                last = .afterPrefix(common)
                index = start(of: last)
            } else {
                entries.append(.object(key, objects[key]!))
                last = .after(key)
                index += 1
            }
        }
        return (entries, nil)
    }

    private func start(of position: Position) -> Int {
        switch position {
        case .start: 0
        case .after(let key): index(notBefore: ObjectKey(key.bytes + [0]))
        case .afterPrefix(let prefix): prefix.successor.map { index(notBefore: $0) } ?? keys.count
        }
    }

    private func index(notBefore key: ObjectKey) -> Int {
        if let last = keys.last, last.precedes(key) { return keys.count }
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle].precedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension ObjectKey {
    /// The same as `<`; memcmp makes it bearable in debug builds.
    fileprivate func precedes(_ other: ObjectKey) -> Bool {
        let order = memcmp(bytes, other.bytes, min(bytes.count, other.bytes.count))
        return order == 0 ? bytes.count < other.bytes.count : order < 0
    }

    /// The first key after all that begin with this one; nil where none can be.
    fileprivate var successor: ObjectKey? {
        guard let last = bytes.lastIndex(where: { $0 < 255 }) else { return nil }
        return ObjectKey(bytes[..<last] + [bytes[last] + 1])
    }
}

extension [UInt8] {
    /// The index after the first `separator` at or after `from`.
    fileprivate func end(of separator: [UInt8], from: Int) -> Int? {
        guard let first = separator.first else { return nil }
        var index = from
        while index + separator.count <= count {
            guard let found = self[index...].firstIndex(of: first) else { return nil }
            if self[found...].starts(with: separator) { return found + separator.count }
            index = found + 1
        }
        return nil
    }
}
