import FileSystem
import Fuse
import Namespace
import SystemPackage

/// Names, attributes and directories.
extension SessionOperations {
    func lookup(_ request: consuming Request, name: UnsafeRawBufferPointer) {
        let directory = request.inode
        let parked = request.park()
        fileSystem.namespace.lookup(name, in: directory) { [self] result in
            switch result {
            case .success(let attributes):
                let node = enter(attributes)
                if !parked.resume().reply(entry: shown(attributes, node: node), validity) {
                    forget(inode: node, lookups: 1)
                }
            case .failure(.noSuchFileOrDirectory):
                parked.resume().reply(noEntryForMs: description.policy.negativeTTLMs)
            case .failure(let errno): parked.resume().fail(errno)
            }
        }
    }

    /// The node to answer a lookup with, which the namespace has counted.
    private func enter(_ attributes: Attributes) -> UInt64 {
        let (node, isNew) = nodes.withLock { $0.lookedUp(attributes) }
        if isNew { journal?.aliased(node, to: attributes.inode) }
        return node
    }

    func forget(inode node: UInt64, lookups: UInt64) {
        let (inode, isGone) = nodes.withLock { $0.forgot(node, lookups: lookups) }
        if isGone { journal?.forgotAlias(node) }
        fileSystem.namespace.forget(inode, lookups: lookups)
    }

    func attributes(_ request: consuming Request, handle: UInt64?) {
        let node = request.inode
        let inode = nodes.withLock { $0.inode(of: node) }
        let parked = request.park()
        fileSystem.namespace.attributes(inode, refresh: false) { [self] result in
            switch result {
            case .success(let attributes):
                let seen = nodes.withLock { $0.attributes(node, attributes) }
                parked.resume().reply(attributes: shown(seen, node: node), forMs: description.policy.ttlMs)
            case .failure(let errno):
                // A file that is deleted while it is open is still what it was.
                guard let pin = nodes.withLock({ $0.pin(of: node) }) else {
                    parked.resume().fail(errno)
                    return
                }
                let was = Attributes(inode: inode, isDirectory: false, size: pin.version.size, modified: pin.modified)
                parked.resume().reply(attributes: shown(was, node: node), forMs: description.policy.ttlMs)
            }
        }
    }

    func openDirectory(_ request: consuming Request) {
        switch fileSystem.namespace.openDirectory(request.inode) {
        case .failure(let errno): request.fail(errno)
        case .success(let stream):
            let unique = request.originalUnique
            if request.isResent { dropDirectory(opened: unique) }
            let handle = directories.insert(DirectoryHandle(stream, unique: unique))
            journal?.openedDirectory(handle, inode: request.inode, unique: unique)
            // A listing that changes must be asked for again; the namespace keeps it as long as it is trusted.
            let reply = OpenDirectoryReply(handle: handle, cache: description.policy.ttlMs == .max)
            if !request.reply(directory: reply) { closeDirectory(handle) }
        }
    }

    func readDirectory(_ request: consuming Request, handle: UInt64, cookie: UInt64, count: Int, plus: Bool) {
        guard let directory = directories[handle] else {
            request.fail(.staleNFSFileHandle)
            return
        }
        let buffer = DirectoryBuffer(count: count, plus: plus)
        let parked = request.park()
        let validity = validity
        directory.stream.read(
            from: cookie, plus: plus,
            emit: { [self] entry in
                // Not before it is sure to be taken: the kernel counts what it gets.
                guard buffer.hasRoom(nameBytes: entry.name.count) else { return false }
                let isDot = DirectoryBuffer.isDot(entry.name)
                let node = plus && !isDot ? enter(entry.attributes) : entry.attributes.inode
                return buffer.add(
                    name: entry.name, shown(entry.attributes, node: node), validity, nextCookie: entry.nextCookie)
            },
            done: { errno in
                // What came before an error is good; the next read meets the error again.
                if let errno, buffer.isEmpty {
                    parked.resume().fail(errno)
                } else {
                    parked.resume().reply(bytes: buffer.bytes)
                }
            })
    }

    func releaseDirectory(_ request: consuming Request, handle: UInt64) {
        closeDirectory(handle)
        request.reply()
    }

    private func closeDirectory(_ handle: UInt64) {
        journal?.closedDirectory(handle)
        directories.remove(handle)?.stream.close()
    }

    /// Of an OPENDIR that the engine before had begun and the kernel asks again: it never learned of the handle.
    private func dropDirectory(opened unique: UInt64) {
        for (handle, value) in directories.all where value.unique == unique { closeDirectory(handle) }
    }
}
