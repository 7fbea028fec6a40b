import S3
import SystemPackage
import Threads

extension Namespace {
    /// The version to pin for an open: known and fresh at once, else after a HEAD. ESTALE: the object was replaced or is
    /// gone, so that the kernel looks the name up again.
    public func openVersion(
        _ inode: InodeNumber, _ done: @escaping @Sendable (Result<FileVersion, Errno>) -> Void
    ) {
        lock.lock()
        guard let (block, i) = table.entry(inode) else {
            lock.unlock()
            return done(.failure(inode == rootInode ? .isDirectory : .staleNFSFileHandle))
        }
        let entry = block.entries[i]
        if entry.isDirectory || entry.isGone {
            lock.unlock()
            return done(.failure(entry.isDirectory ? .isDirectory : .staleNFSFileHandle))
        }
        table.touch(block.directory)
        let since = KnownRanges.Since(since(policy.ttlMs, clock()))
        if block.directory.ranges.reach(from: block.raw(i), since: since) != .none {
            let version = version(block, i)
            lock.unlock()
            return done(.success(version))
        }
        lock.unlock()
        metrics.headsForOpen.add()
        head(inode, done)
    }

    func version(_ block: Block, _ i: Int) -> FileVersion {
        let directory = block.directory
        let name = block.raw(i)
        let key = [UInt8](unsafeUninitializedCapacity: directory.path.count + name.count) { out, count in
            directory.path.withUnsafeBytes { UnsafeMutableRawBufferPointer(out).copyMemory(from: $0) }
            UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(out)[directory.path.count...])
                .copyMemory(from: name)
            count = directory.path.count + name.count
        }
        return FileVersion(
            key: ObjectKey(key), etag: block.etag(i), size: block.entries[i].size,
            isReadable: !block.entries[i].flags.contains(.archived))
    }

    /// Asks S3 whether the inode's version is still the one. One request for all who ask at a time.
    func head(_ inode: InodeNumber, _ done: @escaping @Sendable (Result<FileVersion, Errno>) -> Void) {
        lock.lock()
        guard let (block, i) = table.entry(inode) else {
            lock.unlock()
            return done(.failure(.staleNFSFileHandle))
        }
        let isFirst = heads[inode] == nil
        heads[inode, default: []].append(done)
        let directory = block.directory
        let (number, parent, path) = (directory.inode, directory.parent, directory.path)
        let name = Array(block.raw(i))
        lock.unlock()
        guard isFirst else { return }
        let started = stamp(clock())
        store.head(ObjectKey(path + name)) { [self] result in
            lock.lock()
            let directory = table.directory(number, parent: parent, path: path)
            var answer: Result<FileVersion, Errno> = .failure(.staleNFSFileHandle)
            switch result {
            case .success(let metadata):
                note(metadata, name, directory, fetched: started)
                if let (block, i) = table.entry(inode), !block.entries[i].isGone {
                    answer = .success(version(block, i))
                }
            case .failure(.noSuchKey): note(nil, name, directory, fetched: started)
            case .failure(let error):
                report(error, "Asking for an object", path + name)
                answer = .failure(error.errno)
            }
            let waiters = heads.removeValue(forKey: inode) ?? []
            lock.unlock()
            for waiter in waiters { waiter(answer) }
        }
    }

    /// Takes in what a HEAD told of one name; nil: there is no such object.
    func note(_ metadata: ObjectMetadata?, _ name: [UInt8], _ directory: Directory, fetched: Instant) {
        name.withUnsafeBytes { raw in
            let upper = Position.after(raw)
            if let metadata {
                var etag = metadata.etag
                etag.withUTF8 { etag in
                    let entry = ListedEntry(
                        raw: raw, size: metadata.size, modified: metadata.modified, etag: Bytes(etag),
                        isReadable: metadata.isReadable)
                    table.apply([entry], to: directory, lower: name, upper: upper)
                }
                table.saw(directory, at: fetched)
            } else {
                table.apply([], to: directory, lower: name, upper: upper)
            }
            table.changeRanges(directory) {
                $0.insert(.init(lower: name, upper: upper, fetched: fetched, isAhead: false))
            }
        }
    }

    /// ESTALE was seen: forgets what is known of this file, so that the next lookup asks S3.
    public func invalidate(_ inode: InodeNumber) {
        lock.withLock {
            guard let (block, i) = table.entry(inode), !block.entries[i].isDirectory else { return }
            let raw = block.raw(i)
            table.changeRanges(block.directory) { $0.remove(Array(raw), Position.after(raw)) }
        }
    }

    /// Regular files that come after this one in its directory's order, as far as they are known, at most `count`, for
    /// reading ahead. Does no I/O. Their inodes are only informative: the kernel may not know them yet.
    public func files(after inode: InodeNumber, count: Int) -> [(inode: InodeNumber, version: FileVersion)] {
        guard count > 0 else { return [] }
        return lock.withLock {
            guard let (block, i) = table.entry(inode), !block.entries[i].isDirectory else { return [] }
            let directory = block.directory
            var out: [(inode: InodeNumber, version: FileVersion)] = []
            var place = Directory.Place(block: directory.blockIndex(for: block.raw(i)), index: i)
            // Subdirectories and older versions lie between; a long run of them isn't worth the walk.
            var steps = 4 * count
            while out.count < count, steps > 0 {
                steps -= 1
                place = directory.after(place)
                guard place.block < directory.blocks.count else { break }
                let block = directory.blocks[place.block]
                let entry = block.entries[place.index]
                if entry.isDirectory || entry.isGone { continue }
                if out.isEmpty { out.reserveCapacity(count) }
                out.append((block.inode(place.index), version(block, place.index)))
            }
            return out
        }
    }
}
