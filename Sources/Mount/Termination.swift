import Fuse
import Glibc
import Logging
import Threads

/// SIGTERM and SIGINT as something to wait for.
public final class Termination: Sendable {
    private init() {}

    /// Blocks the signals in this thread and all that it starts from here on, so call it first of all. Also ignores
    /// SIGPIPE, as a peer that goes away is an error of one connection.
    public static func install() -> Termination {
        signal(SIGPIPE, SIG_IGN)
        var set = signals
        pthread_sigmask(SIG_BLOCK, &set, nil)
        return Termination()
    }

    private static var signals: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGHUP)
        return set
    }

    /// Waits for one of the signals; nil once the deadline has passed.
    public func wait(until deadline: Instant = .distantFuture) -> Int32? {
        var set = Self.signals
        while true {
            let ms = deadline.ms(since: .now)
            var limit = timespec(
                tv_sec: Int(min(ms / 1000, 1e9)), tv_nsec: Int(ms.truncatingRemainder(dividingBy: 1000) * 1e6))
            let signal = sigtimedwait(&set, nil, &limit)
            if signal > 0 { return signal }
            if errno == EAGAIN && deadline <= .now { return nil }
        }
    }

    /// Serves until a signal comes or the mount is gone. The first signal unmounts. A mount that is in use is waited for,
    /// and the log says who uses it; after `busyMs`, or at a second signal, it is detached. False: it is still mounted.
    @discardableResult
    public func serve(_ engine: Engine, _ mounted: MountedSession, _ logger: Logger, busyMs: Int = 10_000) -> Bool {
        // A mount that ends from outside wakes this thread, too.
        let watcher = Thread("unmounted") { [process = getpid()] in
            if mounted.ended.wait(until: .distantFuture) != nil { kill(process, SIGHUP) }
        }
        _ = watcher
        while true {
            let signal = wait()
            if let ending = mounted.ended.wait(until: .now) {
                logger.notice("The mount is gone.", metadata: ["why": "\(ending)"])
                engine.finish(mounted)
                return true
            }
            if signal == SIGHUP { continue }
            break
        }
        return unmount(engine, mounted, logger, .now.advanced(byMs: busyMs))
    }

    private func unmount(
        _ engine: Engine, _ mounted: MountedSession, _ logger: Logger, _ deadline: Instant
    ) -> Bool {
        var isSaid = false
        while true {
            do throws(MountError) {
                try engine.unmount(mounted, deadline: .now)
                logger.notice("Unmounted.", metadata: ["dir": "\(mounted.path ?? "")"])
                return true
            } catch {
                guard error.reason == .busy else {
                    logger.error("\(error)")
                    return false
                }
                if !isSaid { logger.warning("\(error). Waiting for it; a second signal detaches the mount.") }
                isSaid = true
            }
            let signal = wait(until: .now.advanced(byMs: 200))
            if signal == SIGTERM || signal == SIGINT || deadline <= .now {
                do throws(MountError) {
                    try engine.unmount(mounted, lazily: true, deadline: .now)
                    logger.notice(
                        "Detached; who still uses it gets errors.", metadata: ["dir": "\(mounted.path ?? "")"])
                    return true
                } catch {
                    logger.error("\(error)")
                    return false
                }
            }
        }
    }
}
