import FileSystem
import Fuse
import Namespace
import SystemPackage

/// Open files, their bytes and their extended attributes.
extension SessionOperations {
    func open(_ request: consuming Request, flags: Int32) {
        let unique = request.originalUnique
        if request.isResent { dropFile(opened: unique) }
        let inode = request.inode
        let parked = request.park()
        // ESTALE, where the file was replaced since: the kernel looks the name up again and opens what it finds.
        fileSystem.open(inode) { [self] result in
            switch result {
            case .failure(let errno): parked.resume().fail(errno)
            case .success(let file): opened(parked.resume(), FileHandle(file, unique: unique))
            }
        }
    }

    private func opened(_ request: consuming Request, _ value: FileHandle) {
        let file = value.file
        let offered = offeredMode(file)
        let mode = modes.withLock { $0.opened(file.inode, offered: offered) }
        // Somebody else's open came first, and its mode counts.
        if case .passthrough(let id) = offered, mode != offered { session?.closeBacking(id) }
        let handle = files.insert(value)
        journal?.opened(handle, value, mode: mode)
        let reply: OpenReply.Mode =
            switch mode {
            case .cached: .cached(keep: file.keepPageCache)
            case .passthrough(let id): .passthrough(id)
            }
        if !request.reply(open: OpenReply(handle: handle, mode: reply)) { closeFile(handle) }
    }

    /// Passthrough where the whole file is on disk and the inode isn't open otherwise.
    private func offeredMode(_ file: OpenFile) -> OpenModes.Mode {
        guard let session, session.hasPassthrough, modes.withLock({ $0.mode(of: file.inode) }) == nil,
            let complete = file.passthroughFile()
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

    /// Answered first: were the handle free before the kernel has its answer, an engine that is killed in between would
    /// leave a RELEASE that the kernel asks again, and that would close whoever got the handle meanwhile. An engine that
    /// is killed after the answer leaves its successor a handle that nobody uses, until the mount's end.
    func release(_ request: consuming Request, handle: UInt64) {
        request.reply()
        closeFile(handle)
    }

    func closeFile(_ handle: UInt64) {
        journal?.closed(handle)
        guard let value = files.remove(handle) else { return }
        value.file.close()
        if let id = modes.withLock({ $0.closed(value.file.inode) }) { session?.closeBacking(id) }
    }

    /// Of an OPEN that the engine before had begun and the kernel asks again: it never learned of the handle.
    private func dropFile(opened unique: UInt64) {
        for (handle, value) in files.all where value.unique == unique { closeFile(handle) }
    }

    // MARK: - Extended attributes

    func extendedAttribute(_ request: consuming Request, name: String, count: Int) {
        let inode = request.inode
        let parked = request.park()
        fileSystem.extendedAttribute(inode, name: name) { result in
            switch result {
            case .success(let value): parked.resume().reply(extendedAttribute: value, count: count)
            case .failure(let errno): parked.resume().fail(errno)
            }
        }
    }

    func extendedAttributeNames(_ request: consuming Request, count: Int) {
        let inode = request.inode
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
