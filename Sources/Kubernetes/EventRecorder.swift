import Logging

/// Writes Events: the same one again becomes a higher count, at most once in `quietMs`, and no object gets more than
/// a few at once. An Event that can't be written is logged and forgotten.
public actor EventRecorder {
    public enum Kind: String, Sendable {
        case normal = "Normal"
        case warning = "Warning"
    }

    private struct Known {
        var name: String
        var count: Int
        var unsent: Int
        var sentAt: ContinuousClock.Instant
    }
    private struct Identity: Hashable {
        var object: ObjectReference
        var reason: String
        var message: String
    }

    private let client: Client
    private let component: String
    private let quiet: Duration
    private let logger: Logger
    private var known: [Identity: Known] = [:]

    public init(client: Client, component: String, quietMs: Int = 60_000, logger: Logger) {
        self.client = client
        self.component = component
        quiet = .milliseconds(quietMs)
        self.logger = logger
    }

    /// Objects without a namespace get theirs in `default`, as the API wants it.
    public func record(_ kind: Kind, on object: ObjectReference, reason: String, message: String) async {
        var object = object
        object.resourceVersion = nil
        let message = String(message.prefix(1024))
        let identity = Identity(object: object, reason: reason, message: message)
        let now = ContinuousClock.now
        if known.count > 4096 { known = known.filter { now - $0.value.sentAt < quiet } }
        if var again = known[identity] {
            again.unsent += 1
            let isQuiet = now - again.sentAt < quiet
            if !isQuiet { (again.sentAt, again.count, again.unsent) = (now, again.count + again.unsent, 0) }
            known[identity] = again
            if isQuiet { return }
            await write { [client] () async throws(APIError) in
                let patch: JSON = [
                    "count": .integer(again.count), "lastTimestamp": .string(Timestamp.now()),
                ]
                try await client.patch(
                    Event.self, again.name, namespace: object.namespace ?? "default", merge: patch)
            }
            return
        }
        // A name that says which: it is found again after a restart instead of written once more.
        let name = "\((object.name ?? "unnamed").prefix(200)).\(Self.digest(identity))"
        known[identity] = Known(name: name, count: 1, unsent: 0, sentAt: now)
        var event = Event(
            metadata: ObjectMeta(name: name, namespace: object.namespace ?? "default"), involvedObject: object)
        event.reason = reason
        event.message = message
        event.type = kind.rawValue
        event.source = Event.Source(component: component)
        event.firstTimestamp = Timestamp.now()
        event.lastTimestamp = event.firstTimestamp
        event.count = 1
        await write { [client, event] () async throws(APIError) in
            do throws(APIError) { try await client.create(event) } catch {
                guard error.isAlreadyExists else { throw error }
                let patch: JSON = ["lastTimestamp": .string(Timestamp.now())]
                try await client.patch(Event.self, name, namespace: event.metadata.namespace, merge: patch)
            }
        }
    }

    private func write(_ call: () async throws(APIError) -> Void) async {
        do throws(APIError) { try await call() } catch {
            if !error.isNamespaceTerminating {
                logger.debug("event not written", metadata: ["error": "\(error)"])
            }
        }
    }

    /// FNV-1a over what makes the Event this one.
    private static func digest(_ identity: Identity) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for text in [identity.object.uid ?? "", identity.object.kind ?? "", identity.reason, identity.message] {
            for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            hash = (hash ^ 0xff) &* 0x100_0000_01b3
        }
        return String(hash, radix: 16)
    }
}
