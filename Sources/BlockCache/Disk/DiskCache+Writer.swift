import Logging
import SystemPackage
import Threads

/// What the writer's thread does: it writes what is queued, and makes room.
extension DiskCache {
    func write(lookMs: Int) {
        var nextLook = Instant.now.advanced(byMs: lookMs)
        while true {
            switch queue.next(idleMs: lookMs) {
            case .end: return
            case .batch(let batch, let isLate): isLate ? drop(batch) : store(batch)
            case .nothing: break
            }
            guard nextLook <= .now else { continue }
            makeRoom(0, for: nil)
            nextLook = .now.advanced(byMs: lookMs)
        }
    }

    private func store(_ batch: [WriteQueue.Item]) {
        let entry = batch[0].entry
        let bytes = batch.reduce(UInt64(0)) { $0 + UInt64($1.bytes.count) } + 8192  // and the map's part
        makeRoom(bytes, for: entry.dataset)
        guard isWriting, admits(bytes, for: entry.dataset) else {
            if isWriting { complain("the disk cache is full of what can't give way, or its disk is full of others'") }
            return drop(batch)
        }
        do throws(Errno) {
            let bytes = try entry.store(batch)
            shelf.withLock { $0.index.set(entry.digest, bytes: bytes, of: entry.dataset) }
            queue.recycle(batch)
            for item in batch {
                item.written?(true)
                release(entry)
            }
        } catch {
            metrics.writeErrors.add()
            pausedUntil.store(Instant.now.advanced(byMs: pauseMs).nanoseconds, ordering: .relaxed)
            complain("cannot write to the disk cache: \(error); it rests for \(pauseMs / 1000) s, reads go on from S3")
            drop(batch)
        }
    }

    private func drop(_ batch: [WriteQueue.Item]) {
        queue.recycle(batch)
        for item in batch {
            item.written?(false)
            item.entry.drop(item.block)
        }
    }

    private func complain(_ text: String) {
        if fullComplaint.isDue(everyMs: 600_000) { logger.warning("\(text)") }
    }

    private func admits(_ bytes: UInt64, for dataset: DatasetNumber) -> Bool {
        guard let free = directory.freeBytes() else { return false }
        return shelf.withLock { shelf in
            let used = shelf.index.usage(of: dataset).bytes
            return policy.admits(bytes, used: shelf.index.bytes, free: free)
                && used + bytes <= shelf.datasets[dataset].policy.quotaBytes ?? .max
        }
    }

    /// Evicts files, if `bytes` more would pass the high watermark, or the quota of the dataset that they are for. Nil: they
    /// are for nobody, but others may have filled the disk.
    private func makeRoom(_ bytes: UInt64, for dataset: DatasetNumber?) {
        guard let free = directory.freeBytes() else { return }
        if let dataset {
            let (excess, isPinned) = shelf.withLock { shelf in
                let quota = shelf.datasets[dataset].policy.quotaBytes ?? .max
                let used = shelf.index.usage(of: dataset).bytes + bytes
                return (
                    used > quota ? used - UInt64(Double(quota) * SpacePolicy.low) : 0,
                    shelf.datasets.isPinned(dataset, now: Self.seconds)
                )
            }
            if excess > 0, !isPinned { evict(excess, from: [[dataset]]) }
        }
        let excess = policy.excess(used: counts.bytes + bytes, free: free > bytes ? free - bytes : 0)
        guard excess > 0 else { return }
        evict(excess, from: shelf.withLock { $0.datasets.givingWay(to: dataset, now: Self.seconds) })
    }

    /// Removes the least recently used files that nobody has open: all that goes first before any that goes next.
    private func evict(_ bytes: UInt64, from ranks: [[DatasetNumber]]) {
        var freed: UInt64 = 0
        for rank in ranks {
            while freed < bytes {
                let victim = shelf.withLock { shelf -> (digest: DiskDigest, folder: String, bytes: UInt64)? in
                    guard let digest = shelf.index.oldest(of: rank, where: { shelf.open[$0] == nil }),
                        let dataset = shelf.index.dataset(of: digest), let bytes = shelf.index.remove(digest)
                    else { return nil }
                    return (digest, shelf.datasets[dataset].folder, bytes)
                }
                guard let victim else { break }
                DiskFiles.remove(victim.digest, from: directory, folder: victim.folder)
                metrics.evictedBytes.add(Int(victim.bytes))
                freed += victim.bytes
            }
        }
    }

    /// Before any session: which datasets earlier runs left. Few, and quickly read.
    func findFolders() {
        for folder in DiskScan.folders(directory) {
            let number = shelf.withLock {
                $0.datasets.found(folder.policy, folder: folder.name, lastUse: folder.lastUse)
            }
            count(number, folder.policy.dataset)
        }
    }

    /// Lists the files that earlier runs left, in the order of their last use, and removes halves of pairs.
    func scan() {
        let files = DiskScan.files(directory)
        let spare = shelf.withLock { shelf -> [DiskScan.File] in
            let numbers = Dictionary(
                shelf.datasets.all.enumerated().map { ($1.folder, DatasetNumber($0)) },
                uniquingKeysWith: { first, _ in first })
            var spare: [DiskScan.File] = []
            for file in files {
                let number = numbers[file.folder] ?? DiskDatasets.nobody
                // Two datasets had it each, when a crash came between copying and removing.
                let other = shelf.index.dataset(of: file.digest) ?? shelf.open[file.digest]?.entry.dataset
                if let other, other != number {
                    spare.append(file)
                } else if !shelf.index.contains(file.digest) {
                    shelf.index.set(file.digest, bytes: file.bytes, of: number, asOldest: true)
                }
            }
            shelf.isScanned = true
            return spare
        }
        for file in spare { DiskFiles.remove(file.digest, from: directory, folder: file.folder) }
    }
}
