import CLinux
import Glibc

/// A named pthread that can be joined.
public final class Thread: @unchecked Sendable {
    private var handle = pthread_t()
    private let joined = Locked(false)

    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts the thread. `name`: at most 15 bytes are seen by `top -H`.
    public init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let start = Unmanaged.passRetained(Start(name, body))
        let status = pthread_create(
            &handle, nil,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                _ = String(start.name.prefix(15)).withCString { clinux_set_thread_name($0) }
                start.body()
                return nil
            }, start.toOpaque())
        precondition(status == 0, "pthread_create failed: \(status)")
    }

    /// One that nobody joins frees its stack when it ends.
    deinit { if !joined.withLock({ $0 }) { pthread_detach(handle) } }

    /// Waits for the end of the thread; only the first call does.
    public func join() {
        let first = joined.withLock { done in
            defer { done = true }
            return !done
        }
        if first { pthread_join(handle, nil) }
    }
}
