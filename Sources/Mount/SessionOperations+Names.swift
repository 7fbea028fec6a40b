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
                if !parked.resume().reply(entry: shown(attributes), validity) {
                    forget(inode: attributes.inode, lookups: 1)
                }
            case .failure(.noSuchFileOrDirectory):
                parked.resume().reply(noEntryForMs: description.policy.negativeTTLMs)
            case .failure(let errno): parked.resume().fail(errno)
            }
        }
    }

    func forget(inode: UInt64, lookups: UInt64) { fileSystem.namespace.forget(inode, lookups: lookups) }

    func attributes(_ request: consuming Request, handle: UInt64?) {
        let inode = request.inode
        let parked = request.park()
        fileSystem.namespace.attributes(inode, refresh: false) { [self] result in
            switch result {
            case .success(let attributes):
                parked.resume().reply(attributes: shown(attributes), forMs: description.policy.ttlMs)
            case .failure(let errno): parked.resume().fail(errno)
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
                return buffer.add(name: entry.name, shown(entry.attributes), validity, nextCookie: entry.nextCookie)
            },
            done: { [self] errno in
                // What came before an error is good; the next read meets the error again.
                if let errno, buffer.isEmpty {
                    parked.resume().fail(errno)
                } else if !parked.resume().reply(bytes: buffer.bytes) {
                    for inode in buffer.lookups { forget(inode: inode, lookups: 1) }
                }
            })
    }

    /// In this order as with files.
    func releaseDirectory(_ request: consuming Request, handle: UInt64) {
        request.reply()
        closeDirectory(handle)
    }

    func closeDirectory(_ handle: UInt64) {
        journal?.closedDirectory(handle)
        directories.remove(handle)?.stream.close()
    }

    /// Of an OPENDIR that the engine before had begun and the kernel asks again: it never learned of the handle.
    private func dropDirectory(opened unique: UInt64) {
        for (handle, value) in directories.all where value.unique == unique { closeDirectory(handle) }
    }
}
