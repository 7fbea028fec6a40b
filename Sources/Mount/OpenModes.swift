import Namespace

/// How the kernel reads the files that are open: all opens of an inode must agree, or the kernel refuses them.
struct OpenModes: Sendable {
    enum Mode: Sendable, Equatable {
        /// Through its page cache, from us.
        case cached
        /// From the file with this backing id.
        case passthrough(Int32)
    }
    private var opens: [InodeNumber: (mode: Mode, count: Int)] = [:]

    init() {}

    var count: Int { opens.count }

    /// The mode that the next open of this inode must have; nil: any.
    func mode(of inode: InodeNumber) -> Mode? { opens[inode]?.mode }

    /// Counts an open. Answers its mode: `offered` where it is the only one.
    mutating func opened(_ inode: InodeNumber, offered: Mode) -> Mode {
        let mode = opens[inode]?.mode ?? offered
        opens[inode] = (mode, (opens[inode]?.count ?? 0) + 1)
        return mode
    }

    /// Counts a release. Answers the backing id that nobody uses any more.
    mutating func closed(_ inode: InodeNumber) -> Int32? {
        guard let open = opens[inode] else { return nil }
        guard open.count == 1 else {
            opens[inode] = (open.mode, open.count - 1)
            return nil
        }
        opens[inode] = nil
        return if case .passthrough(let id) = open.mode { id } else { nil }
    }
}
