import S3
import Threads

/// A GET from a `MemoryStore`, delivered chunk by chunk.
final class MemoryTransfer: Transfer, @unchecked Sendable {
    /// Set before the first step.
    var effect = MemoryFault.Effects(delayMs: 0)

    private let request: GetRequest
    private let receiver: any GetReceiver
    private let store: MemoryStore
    private let isCancelled = Locked(false)
    // Reached by one step at a time.
    private var position: UInt64
    private var object: StoredObject?

    init(_ request: GetRequest, _ receiver: any GetReceiver, _ store: MemoryStore) {
        self.request = request
        self.receiver = receiver
        self.store = store
        position = request.range.lowerBound
    }

    func cancel() {
        let isFirst = isCancelled.withLock { done in
            defer { done = true }
            return !done
        }
        guard isFirst else { return }
        // A silent transfer has no step of its own that would notice.
        if effect.isSilent { store.later(afterMs: 0) { [self] in finish(.failure(.cancelled)) } }
    }

    func raise(to priority: Priority) { store.count { $0.raised += 1 } }

    /// The first step: the answer's header.
    func begin() {
        if effect.isSilent { return }
        if isCancelled.withLock({ $0 }) { return finish(.failure(.cancelled)) }
        if let error = effect.error { return finish(.failure(error)) }
        switch store.lookUp(request.key) {
        case .failure(let error): finish(.failure(error))
        case .success(let found):
            let expectedTag = object?.etag ?? request.etag
            let expectedSize = object?.body.size ?? request.size
            guard expectedTag == nil || expectedTag == found.etag,
                expectedSize == nil || expectedSize == found.body.size
            else { return finish(.failure(.changed)) }
            guard found.isReadable else { return finish(.failure(.archived)) }
            guard request.range.upperBound <= found.body.size else {
                return finish(.failure(.badAnswer("\(request.range) is not within the \(found.body.size) bytes")))
            }
            object = found
            continueDelivery()
        }
    }

    private func continueDelivery() {
        if isCancelled.withLock({ $0 }) { return finish(.failure(.cancelled)) }
        guard let object else { return }
        var end = min(request.range.upperBound, position + UInt64(store.chunkBytes))
        if let replacement = effect.replacement, position - request.range.lowerBound >= replacement.afterBytes {
            effect.replacement = nil
            store.put(request.key, replacement.object)
        }
        if let cut = effect.cutAfterBytes {
            let cutAt = request.range.lowerBound + cut
            if position >= cutAt {
                // As the client does: ask for the rest, of the same version.
                effect.cutAfterBytes = nil
                store.count { $0.retries += 1 }
                return store.later(afterMs: store.latencyMs) { [self] in begin() }
            }
            end = min(end, cutAt)
        }
        let bytes = object.body.bytes(in: position..<end)
        store.count { $0.bytes += UInt64(bytes.count) }
        bytes.withUnsafeBytes { receiver.received($0, at: position) }
        position = end
        if let failure = effect.failureAfter, position - request.range.lowerBound >= failure.bytes {
            return finish(.failure(failure.error))
        }
        if position == request.range.upperBound { return finish(.success(object.metadata)) }
        store.later(afterMs: effect.chunkDelayMs) { [self] in continueDelivery() }
    }

    private func finish(_ result: Result<ObjectMetadata, S3Error>) {
        store.count {
            $0.active -= 1
            if result == .failure(.cancelled) { $0.cancelled += 1 }
        }
        receiver.finished(result)
    }
}
