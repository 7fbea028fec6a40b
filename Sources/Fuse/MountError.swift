/// Why a mount or unmount failed: what, why and what to do about it.
public struct MountError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Reason: Sendable, Equatable {
        case badMountPoint, noDevice, notPermitted, busy, notMounted, timedOut, other
    }
    public var reason: Reason
    public var description: String

    public init(_ reason: Reason, _ description: String) {
        self.reason = reason
        self.description = description
    }
}
