/// Opens after so many have said so.
public actor Gate {
    private var missing: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    public init(_ count: Int) { missing = count }

    public func open() {
        missing -= 1
        guard missing <= 0 else { return }
        give()
    }

    /// Returns once it is open, or the task is cancelled.
    public func wait() async {
        if missing <= 0 { return }
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiting.append($0) }
        } onCancel: {
            Task { await self.give() }
        }
    }

    private func give() {
        for continuation in waiting { continuation.resume() }
        waiting = []
    }
}
