import FileSystem
import Fuse
import Namespace
import SystemPackage

/// Open files, their bytes and their extended attributes.
extension SessionOperations {
    func open(_ request: consuming Request, flags: Int32) {
        let node = request.inode
        let unique = request.originalUnique
        let (inode, isSuperseded) = nodes.withLock { ($0.inode(of: node), $0.isSuperseded(node)) }
        // The kernel looks the name up again and opens what it finds.
        if isSuperseded {
            request.fail(.staleNFSFileHandle)
            return
        }
        if request.isResent { dropFile(opened: unique) }
        let parked = request.park()
        fileSystem.open(inode) { [self] result in
            switch result {
            case .failure(let errno): parked.resume().fail(errno)
            case .success(let file): opened(parked.resume(), FileHandle(file, node: node, unique: unique))
            }
        }
    }

    private func opened(_ request: consuming Request, _ value: FileHandle) {
        let file = value.file
        let offered = offeredMode(value)
        let opening = nodes.withLock {
            $0.opened(value.node, file.version, mode: offered, keepsPages: file.keepPageCache)
        }
        // Somebody else's open came first, and its mode counts.
        if case .passthrough(let id) = offered, opening.mode != offered { session?.closeBacking(id) }
        guard case .opened(let mode, let keepsPages) = opening else {
            file.close()
            request.fail(.staleNFSFileHandle)
            return
        }
        let handle = files.insert(value)
        journal?.opened(handle, value, mode: mode)
        let reply: OpenReply.Mode =
            switch mode {
            case .cached: .cached(keep: keepsPages)
            case .passthrough(let id): .passthrough(id)
            }
        if !request.reply(open: OpenReply(handle: handle, mode: reply)) { closeFile(handle) }
    }

    /// Passthrough where the whole file is on disk and the node isn't open otherwise.
    private func offeredMode(_ value: FileHandle) -> NodeTable.Mode {
        guard let session, session.hasPassthrough, nodes.withLock({ $0.pin(of: value.node) }) == nil,
            let complete = value.file.passthroughFile()
        else { return .cached }
        do throws(Errno) {
            return .passthrough(try session.openBacking(complete))
        } catch {
            // Not allowed to, or the file is on a file system that can't: reads come to us.
            logger.debug("The kernel took no file.", metadata: ["error": "\(error)"])
            return .cached
        }
    }

    func read(_ read: ReadRequest) {
        guard let handle = files[read.handle] else { return read.failed(.staleNFSFileHandle) }
        handle.file.read(offset: read.offset, count: read.count, read)
    }

    func release(_ request: consuming Request, handle: UInt64) {
        closeFile(handle)
        request.reply()
    }

    private func closeFile(_ handle: UInt64) {
        journal?.closed(handle)
        guard let value = files.remove(handle) else { return }
        value.file.close()
        if let id = nodes.withLock({ $0.closed(value.node) }).backing { session?.closeBacking(id) }
    }

    /// Of an OPEN that the engine before had begun and the kernel asks again: it never learned of the handle.
    private func dropFile(opened unique: UInt64) {
        for (handle, value) in files.all where value.unique == unique { closeFile(handle) }
    }

    // MARK: - Extended attributes

    func extendedAttribute(_ request: consuming Request, name: String, count: Int) {
        let inode = nodes.withLock { [node = request.inode] in $0.inode(of: node) }
        let parked = request.park()
        fileSystem.extendedAttribute(inode, name: name) { result in
            switch result {
            case .success(let value): parked.resume().reply(extendedAttribute: value, count: count)
            case .failure(let errno): parked.resume().fail(errno)
            }
        }
    }

    func extendedAttributeNames(_ request: consuming Request, count: Int) {
        let inode = nodes.withLock { [node = request.inode] in $0.inode(of: node) }
        let parked = request.park()
        fileSystem.extendedAttributeNames(inode) { result in
            switch result {
            case .success(let names):
                parked.resume().reply(extendedAttribute: names.flatMap { Array($0.utf8) + [0] }, count: count)
            case .failure(let errno): parked.resume().fail(errno)
            }
        }
    }
}
