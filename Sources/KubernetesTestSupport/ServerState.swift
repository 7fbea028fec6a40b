import Kubernetes

/// All objects, the log of what happened to them, and who watches. Everything here is under the server's lock.
struct ServerState {
    struct Change {
        var revision: Int
        var table: String
        var old: JSON?
        /// Nil: deleted.
        var new: JSON?
    }

    var catalog = Catalog()
    var tables: [String: [ObjectKey: JSON]] = [:]
    private(set) var revision = 1000
    /// The newest changes, oldest first.
    private(set) var log: [Change] = []
    /// Versions before this one are gone.
    private(set) var oldest = 1000
    var watchers: [Int: Watcher] = [:]
    private var lastWatcher = 0
    /// What a manager applied last to an object, by the object's uid.
    var applied: [String: [String: JSON]] = [:]
    var cluster = ClusterState()
    var watchFaults = WatchFaults()
    var access = AccessRules()
    private var uids = 0
    private var random: SplitMix

    init(seed: UInt64) { random = SplitMix(seed: seed) }

    static func table(_ resource: Resource) -> String { "\(resource.group)/\(resource.plural)" }

    /// Looks like a version 4 UUID, and is the same in every run with the same seed.
    mutating func newUID() -> String {
        uids += 1
        let a = String(random.next() | 1 << 63, radix: 16)
        let b = String(uids, radix: 16)
        let tail = String(repeating: "0", count: 12 - b.count) + b
        let digits = Array(a)
        return "\(String(digits[0..<8]))-\(String(digits[8..<12]))-4\(String(digits[12..<15]))-8000-\(tail)"
    }

    mutating func suffix() -> String {
        let letters = Array("bcdfghjklmnpqrstvwxz2456789")
        return String((0..<5).map { _ in letters[Int(random.next() % UInt64(letters.count))] })
    }

    subscript(_ resource: Resource, _ key: ObjectKey) -> JSON? { tables[Self.table(resource)]?[key] }

    /// Stores a new state of an object (nil: it is gone), gives it the next resourceVersion and tells the watchers.
    /// Answers it as stored. An object that is being deleted and has no finalizer left goes.
    @discardableResult
    mutating func store(_ resource: Resource, _ key: ObjectKey, _ object: JSON?) -> JSON {
        let table = Self.table(resource)
        let old = tables[table]?[key]
        var new = object
        if var kept = new {
            if kept.at("metadata", "finalizers")?.array?.isEmpty == true { kept.set("metadata", "finalizers", to: nil) }
            // A write that changes nothing makes no version, as in the real one.
            if var before = old {
                before.set("metadata", "resourceVersion", to: kept.at("metadata", "resourceVersion"))
                if before == kept, !isFinished(kept) { return old! }
            }
            revision += 1
            kept.set("metadata", "resourceVersion", to: .string(String(revision)))
            new = isFinished(kept) ? nil : kept
            if new == nil {
                tables[table]?[key] = nil
                record(Change(revision: revision, table: table, old: old, new: nil), last: kept)
                return kept
            }
        } else {
            guard var last = old else { return .null }
            revision += 1
            last.set("metadata", "resourceVersion", to: .string(String(revision)))
            tables[table]?[key] = nil
            record(Change(revision: revision, table: table, old: old, new: nil), last: last)
            return last
        }
        tables[table, default: [:]][key] = new
        record(Change(revision: revision, table: table, old: old, new: new), last: new!)
        return new!
    }

    private func isFinished(_ object: JSON) -> Bool {
        object.at("metadata", "deletionTimestamp") != nil && (object.at("metadata", "finalizers")?.array ?? []).isEmpty
            && object.at("spec", "finalizers") == nil
    }

    private mutating func record(_ change: Change, last: JSON) {
        var change = change
        if change.new == nil {
            // What a DELETED event shows is the last state with a version of its own.
            change.old = last
        }
        log.append(change)
        if log.count > 20_000 {
            log.removeFirst(10_000)
            oldest = log[0].revision
        }
        cluster.note(change)
        for watcher in watchers.values where watcher.table == change.table {
            guard let line = watcher.line(for: change) else { continue }
            for _ in 0..<watchFaults.copies() { watcher.deliver(line) }
        }
    }

    /// Forgets all history: older watches and lists get 410 Gone.
    mutating func compact() {
        log = []
        oldest = revision
    }

    mutating func add(_ watcher: Watcher, from start: Int) throws {
        guard start == 0 || start >= oldest else { throw Failure.expiredWatch(start, oldest) }
        lastWatcher += 1
        watcher.id = lastWatcher
        if start > 0 {
            // The log is in order of revisions.
            var low = 0
            var high = log.count
            while low < high {
                let middle = (low + high) / 2
                if log[middle].revision <= start { low = middle + 1 } else { high = middle }
            }
            for change in log[low...] where change.table == watcher.table {
                if let line = watcher.line(for: change) { watcher.deliver(line) }
            }
        } else {
            for (_, object) in (tables[watcher.table] ?? [:]).sorted(by: { $0.key < $1.key })
            where watcher.matches(object) {
                watcher.deliver(Watcher.line("ADDED", object, watcher.resource))
            }
            if watcher.wantsInitialEvents { watcher.deliver(watcher.bookmark(revision, isEndOfInitial: true)) }
        }
        watchers[watcher.id] = watcher
    }
}

/// What goes wrong with watch events, on command.
struct WatchFaults {
    var drop = 0
    var duplicate = 0

    mutating func copies() -> Int {
        if drop > 0 {
            drop -= 1
            return 0
        }
        if duplicate > 0 {
            duplicate -= 1
            return 2
        }
        return 1
    }
}

/// A small generator whose numbers are the same in every run.
public struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64
    public init(seed: UInt64) { state = seed }
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
