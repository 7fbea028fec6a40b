import NodeProtocol
import Threads

/// What the keeper holds, and which connection may touch it.
final class ItemStore: FrameHandler {
    /// An item has up to eight descriptors, and a process rarely more than a few thousand.
    static let maxItems = 4_096
    static let maxNameBytes = 128

    private struct State {
        var items: [String: KeptItem] = [:]
        var holder: Int?
    }
    private let state = Locked(State())

    var isEmpty: Bool { state.withLock { $0.items.isEmpty } }

    func answer(_ request: Frame, from peer: FramePeer) throws(NodeError) -> Frame {
        switch request.kind {
        case .ping: return Frame(.done)
        case .acquire:
            return try state.withLock { state throws(NodeError) in
                guard state.holder == nil || state.holder == peer.connection else {
                    throw .refused(.busy, "another engine has the sessions")
                }
                state.holder = peer.connection
                return Frame(.done)
            }
        case .put:
            let item = try KeptItem(request)
            guard !item.name.isEmpty, item.name.utf8.count <= Self.maxNameBytes else {
                throw .refused(.invalid, "an item's name has 1 to \(Self.maxNameBytes) bytes")
            }
            return try held(by: peer) { items throws(NodeError) in
                guard items[item.name] != nil || items.count < Self.maxItems else {
                    throw .refused(.exhausted, "\(Self.maxItems) sessions are kept, which is the limit")
                }
                items[item.name] = item
                return Frame(.done)
            }
        case .remove:
            let name = try KeptItem.name(of: request)
            return try held(by: peer) { items throws(NodeError) in
                items[name] = nil
                return Frame(.done)
            }
        case .list:
            return try held(by: peer) { items throws(NodeError) in KeptItem.names(items.keys.sorted()) }
        case .get:
            let name = try KeptItem.name(of: request)
            return try held(by: peer) { items throws(NodeError) in
                guard let item = items[name] else { throw .refused(.notFound, "nothing is kept as \(name)") }
                return item.frame(.done)
            }
        default: throw .refused(.unsupported, "not a request to a keeper")
        }
    }

    func ended(_ peer: FramePeer) {
        state.withLock { if $0.holder == peer.connection { $0.holder = nil } }
    }

    private func held(
        by peer: FramePeer, _ body: (inout [String: KeptItem]) throws(NodeError) -> Frame
    ) throws(NodeError) -> Frame {
        try state.withLock { state throws(NodeError) in
            guard state.holder == peer.connection else {
                throw .refused(.invalid, "acquire first: only the engine that holds the sessions may")
            }
            return try body(&state.items)
        }
    }
}
