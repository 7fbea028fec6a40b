import Namespace

/// What the kernel calls a file: normally its inode's number, and another one once it was replaced while it was open.
///
/// The kernel has one page cache and one size for each node. Were a replaced file to keep its node, those who have the
/// old version open would read bytes of the new one, or find its end too early. So the new version gets a node of its
/// own; the old node goes on to be what it was, and an open of it fails with ESTALE, after which the kernel looks the
/// name up again by itself.
struct NodeTable: Sendable {
    typealias Node = UInt64

    /// How the kernel reads a node; all opens of it must agree.
    enum Mode: Sendable, Equatable {
        case cached
        case passthrough(Int32)
    }

    struct Pin: Sendable, Equatable {
        var version: FileVersion
        /// As it was seen first after the open; 0 until then.
        var modified: Int64 = 0
        var mode: Mode
        var opens = 0
    }
    private struct Alias: Sendable, Equatable {
        var inode: InodeNumber
        var lookups: UInt64
    }

    enum Opening: Sendable, Equatable {
        case opened(Mode, keepsPages: Bool)
        /// The node shows another version.
        case replaced

        var mode: Mode? { if case .opened(let mode, _) = self { mode } else { nil } }
    }
    struct Closing: Sendable, Equatable {
        /// To be closed: nobody has the node open any more.
        var backing: Int32?
    }

    private var pins: [Node: Pin] = [:]
    private var aliases: [Node: Alias] = [:]
    /// Of inodes that have another node than their number.
    private var current: [InodeNumber: Node] = [:]
    private var superseded: Set<Node> = []
    /// Of inodes that ever had several nodes: the one whose pages are of the version opened last.
    private var lastOpened: [InodeNumber: Node] = [:]
    /// Far from inode numbers, which are hashes with the top bit clear or not: a clash is looked for.
    private var next: Node = 1 << 62

    init() {}

    func inode(of node: Node) -> InodeNumber { aliases[node]?.inode ?? node }
    func isSuperseded(_ node: Node) -> Bool { superseded.contains(node) }
    func pin(of node: Node) -> Pin? { pins[node] }
    /// The nodes of an inode that the kernel may have pages of.
    func nodes(of inode: InodeNumber) -> [Node] {
        let node = current[inode] ?? inode
        return node == inode ? [node] : [inode, node]
    }
    var openNodes: Int { pins.count }
    var aliasList: [(node: Node, inode: InodeNumber)] { aliases.map { ($0.key, $0.value.inode) } }

    /// The node to answer a lookup with; `isNew` says that it was made now.
    mutating func lookedUp(_ attributes: Attributes) -> (node: Node, isNew: Bool) {
        let inode = attributes.inode
        if attributes.isDirectory { return (inode, false) }
        if current.isEmpty && superseded.isEmpty && pins.isEmpty { return (inode, false) }
        let node = current[inode] ?? inode
        compare(node, attributes)
        guard superseded.contains(node) else {
            aliases[node]?.lookups += 1
            return (node, false)
        }
        while aliases[next] != nil || next == inode { next += 1 }
        let alias = next
        next += 1
        aliases[alias] = Alias(inode: inode, lookups: 1)
        current[inode] = alias
        if lastOpened[inode] == nil { lastOpened[inode] = node }
        return (alias, true)
    }

    /// What to say of a node that was asked about: of a replaced one, what it was.
    mutating func attributes(_ node: Node, _ attributes: Attributes) -> Attributes {
        guard let pin = pins[node] else { return attributes }
        compare(node, attributes)
        return superseded.contains(node)
            ? Attributes(
                inode: attributes.inode, isDirectory: false, size: pin.version.size,
                modified: pin.modified == 0 ? attributes.modified : pin.modified)
            : attributes
    }

    private mutating func compare(_ node: Node, _ attributes: Attributes) {
        guard let pin = pins[node], !superseded.contains(node) else { return }
        if pin.version.size != attributes.size {
            superseded.insert(node)
        } else if pin.modified == 0 {
            pins[node]!.modified = attributes.modified
        }
    }

    /// `mode`: the one to open with where nobody has the node open. `keepsPages`: the version is the one that the inode
    /// was opened with before.
    mutating func opened(_ node: Node, _ version: FileVersion, mode: Mode, keepsPages: Bool) -> Opening {
        guard !superseded.contains(node) else { return .replaced }
        if let pin = pins[node] {
            guard pin.version == version else {
                superseded.insert(node)
                return .replaced
            }
            pins[node]!.opens += 1
            return .opened(pin.mode, keepsPages: true)
        }
        pins[node] = Pin(version: version, mode: mode, opens: 1)
        let inode = inode(of: node)
        let isSameNode = lastOpened[inode].map { $0 == node } ?? true
        if lastOpened[inode] != nil { lastOpened[inode] = node }
        return .opened(mode, keepsPages: keepsPages && isSameNode)
    }

    /// An open of the engine before.
    mutating func restore(_ node: Node, _ version: FileVersion, mode: Mode) {
        if let pin = pins[node], pin.version != version { superseded.insert(node) }
        pins[node, default: Pin(version: version, mode: mode)].opens += 1
    }

    /// An alias of the engine before. How often it was looked up isn't known; the kernel forgets all of it at once.
    mutating func restore(alias node: Node, of inode: InodeNumber, isCurrent: Bool) {
        aliases[node] = Alias(inode: inode, lookups: 0)
        if isCurrent { current[inode] = node }
        // Which of the nodes has which pages is not known any more.
        lastOpened[inode] = 0
        superseded.insert(inode)
        next = max(next, node + 1)
    }

    mutating func closed(_ node: Node) -> Closing {
        guard var pin = pins[node] else { return Closing() }
        pin.opens -= 1
        guard pin.opens == 0 else {
            pins[node] = pin
            return Closing()
        }
        pins[node] = nil
        if case .passthrough(let id) = pin.mode { return Closing(backing: id) }
        return Closing()
    }

    /// The version that handles of the inode have pinned is gone from the bucket.
    mutating func becameStale(_ inode: InodeNumber) {
        let node = current[inode] ?? inode
        if pins[node] != nil { superseded.insert(node) }
    }

    /// The inode to forget as often; `isGone` says that an alias ends.
    mutating func forgot(_ node: Node, lookups: UInt64) -> (inode: InodeNumber, isGone: Bool) {
        if superseded.isEmpty && aliases.isEmpty { return (node, false) }
        if pins[node] == nil { superseded.remove(node) }
        guard var alias = aliases[node] else { return (node, false) }
        guard alias.lookups > lookups else {
            aliases[node] = nil
            if current[alias.inode] == node { current[alias.inode] = nil }
            return (alias.inode, true)
        }
        alias.lookups -= lookups
        aliases[node] = alias
        return (alias.inode, false)
    }
}
