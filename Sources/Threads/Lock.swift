import Glibc

/// A plain pthread mutex with condition variables, for state that threads (never Swift tasks) share.
///
/// `Synchronization.Mutex` is a priority-inheritance futex on Linux that scales badly when contended; this one spins
/// briefly (PTHREAD_MUTEX_ADAPTIVE_NP) and then sleeps.
public final class Lock: @unchecked Sendable {
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>

    public init() {
        mutex = .allocate(capacity: 1)
        var attributes = pthread_mutexattr_t()
        pthread_mutexattr_init(&attributes)
        pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_ADAPTIVE_NP))
        precondition(pthread_mutex_init(mutex, &attributes) == 0, "pthread_mutex_init failed")
        pthread_mutexattr_destroy(&attributes)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    @inlinable public func lock() { pthread_mutex_lock(mutex) }
    @inlinable public func unlock() { pthread_mutex_unlock(mutex) }

    @inlinable
    public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        lock()
        defer { unlock() }
        return try body()
    }
}

/// A value that is reached only under its lock. Do no I/O and call no one back inside `withLock`.
public final class Locked<Value>: @unchecked Sendable {
    @usableFromInline let lock = Lock()
    @usableFromInline var value: Value

    public init(_ value: consuming sending Value) { self.value = value }

    @inlinable
    public func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return try body(&value)
    }
}

/// A condition variable for a `Lock`, on the monotonic clock.
public final class Condition: @unchecked Sendable {
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private let lock: Lock

    public init(_ lock: Lock) {
        self.lock = lock
        condition = .allocate(capacity: 1)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        precondition(pthread_cond_init(condition, &attributes) == 0, "pthread_cond_init failed")
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
    }

    /// Waits for a signal; the lock is held before and after. False once `deadline` has passed.
    public func wait(until deadline: Instant? = nil) -> Bool {
        guard let deadline else {
            pthread_cond_wait(condition, lock.mutex)
            return true
        }
        var time = timespec(
            tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
        return pthread_cond_timedwait(condition, lock.mutex, &time) != ETIMEDOUT
    }

    public func signal() { pthread_cond_signal(condition) }
    public func broadcast() { pthread_cond_broadcast(condition) }
}

/// A result that one thread waits for and another gives, once. For commands and tests, never the read path.
public final class Promise<Value: Sendable>: @unchecked Sendable {
    private let lock = Lock()
    private let condition: Condition
    private var value: Value?

    public init() { condition = Condition(lock) }

    /// Gives the value; a second one is ignored.
    public func fulfil(_ value: Value) {
        lock.withLock {
            if self.value == nil { self.value = value }
            condition.broadcast()
        }
    }

    /// The value, or nil once `deadline` has passed.
    public func wait(until deadline: Instant) -> Value? {
        lock.withLock {
            while value == nil { if !condition.wait(until: deadline) { break } }
            return value
        }
    }
}
