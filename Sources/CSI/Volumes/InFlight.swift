import Threads

/// Volumes and targets with an operation under way: CSI has a second one refused with ABORTED, and its caller tries
/// again.
final class InFlight: Sendable {
    private let names = Locked<Set<String>>([])

    func hold<Result>(volumeID: String, target: String, _ body: () throws(Refusal) -> Result) throws(Refusal) -> Result
    {
        let wanted = ["volume \(volumeID)", "target \(target)"]
        let isFree = names.withLock { names in
            guard names.isDisjoint(with: wanted) else { return false }
            names.formUnion(wanted)
            return true
        }
        guard isFree else {
            throw Refusal(.aborted, "another operation on volume \(Checks.quoted(volumeID)) is under way")
        }
        defer { names.withLock { $0.subtract(wanted) } }
        return try body()
    }
}
