import SystemPackage

/// An open directory.
public final class DirectoryStream: Sendable {
    /// Calls `emit` for the entries from `cookie` on (0 is the start; "." and ".." come first) until it answers false
    /// (that entry was not taken) or they end.
    public func read(
        from cookie: UInt64, plus: Bool, emit: @escaping @Sendable (DirectoryEntry) -> Bool,
        done: @escaping @Sendable (Errno?) -> Void
    ) { done(.noFunction) }

    public func close() {}
}
