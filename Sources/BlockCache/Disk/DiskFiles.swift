import CLinux
import Glibc
import SystemPackage

/// The two files of one object version: its bytes, sparse and as long as the object, so that a complete one is the
/// object; and the map that says which blocks are there. Closed when nobody uses them any more.
final class DiskFiles: Sendable {
    private let data: CInt
    /// The same for writing past the page cache, which would take memory from what is read and, in a virtual machine,
    /// several times longer; -1 where the file system can't.
    private let direct: CInt
    private let map: CInt
    let digest: DiskDigest
    private let size: UInt64

    private init(data: CInt, map: CInt, digest: DiskDigest, size: UInt64) {
        self.data = data
        direct = clinux_open_direct(data)
        self.map = map
        self.digest = digest
        self.size = size
    }

    deinit {
        close(data)
        if direct >= 0 { close(direct) }
        close(map)
    }

    /// The files' names in a dataset's folder; "": the cache's own.
    static func mapName(_ digest: DiskDigest, in folder: String = "") -> String {
        dataName(digest, in: folder) + ".map"
    }
    static func dataName(_ digest: DiskDigest, in folder: String = "") -> String {
        folder.isEmpty ? digest.name : folder + "/" + digest.name
    }

    static func exists(_ digest: DiskDigest, in directory: DiskDirectory, folder: String) -> Bool {
        faccessat(directory.descriptor, mapName(digest, in: folder), F_OK, 0) == 0
    }

    /// Opens what earlier runs left and fills `blocks`. Nil where there is nothing, or nothing that can be used.
    static func openExisting(
        _ digest: DiskDigest, size: UInt64, in directory: DiskDirectory, folder: String = "", into blocks: BlockMap
    ) -> DiskFiles? {
        let map = directory.open(mapName(digest, in: folder), O_RDWR)
        guard map >= 0 else { return nil }
        let data = directory.open(dataName(digest, in: folder), O_RDWR)
        guard data >= 0 else {
            close(map)
            return nil
        }
        let files = DiskFiles(data: data, map: map, digest: digest, size: size)
        var status = stat()
        guard fstat(data, &status) == 0, UInt64(status.st_size) == size else { return nil }
        guard let verification = files.readHeader() else { return nil }
        files.readRecords(
            into: blocks, trusted: verification == Verification(epoch: directory.epoch, stamp: FileStamp(status)))
        futimens(map, nil)  // The map's time is that of the last use, for eviction after a restart.
        return files
    }

    /// Makes both files, without any block.
    static func create(
        _ digest: DiskDigest, size: UInt64, in directory: DiskDirectory, folder: String = ""
    ) throws(Errno) -> DiskFiles {
        let (dataName, mapName) = (dataName(digest, in: folder), mapName(digest, in: folder))
        // The map goes first and comes last, so that a map never vouches for bytes of an earlier run.
        directory.remove(mapName)
        let data = directory.open(dataName, O_RDWR | O_CREAT | O_TRUNC)
        guard data >= 0 else { throw Errno(rawValue: errno) }
        guard ftruncate(data, off_t(size)) == 0 else {
            let error = Errno(rawValue: errno)
            close(data)
            directory.remove(dataName)
            throw error
        }
        let map = directory.open(mapName, O_RDWR | O_CREAT | O_TRUNC)
        guard map >= 0 else {
            let error = Errno(rawValue: errno)
            close(data)
            directory.remove(dataName)
            throw error
        }
        let files = DiskFiles(data: data, map: map, digest: digest, size: size)
        do throws(Errno) {
            try files.markUnverified()
        } catch {
            remove(digest, from: directory, folder: folder)
            throw error
        }
        return files
    }

    static func remove(_ digest: DiskDigest, from directory: DiskDirectory, folder: String) {
        directory.remove(mapName(digest, in: folder))
        directory.remove(dataName(digest, in: folder))
    }

    /// Puts both into another dataset's folder. A half that a crash leaves behind is removed by the next scan.
    static func move(_ digest: DiskDigest, from old: String, to new: String, in directory: DiskDirectory) -> Bool {
        guard directory.rename(dataName(digest, in: old), dataName(digest, in: new)) else { return false }
        if directory.rename(mapName(digest, in: old), mapName(digest, in: new)) { return true }
        _ = directory.rename(dataName(digest, in: new), dataName(digest, in: old))
        return false
    }

    /// Room that both take on disk, in bytes.
    var diskBytes: UInt64 {
        var sum: UInt64 = 0
        for file in [data, map] {
            var status = stat()
            if fstat(file, &status) == 0 { sum += UInt64(status.st_blocks) * 512 }
        }
        return sum
    }

    /// Reads bytes of the object. `isReady`: only if they come without waiting for the disk.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, isReady: Bool = false) -> Bool {
        var done = 0
        while done < buffer.count {
            let rest = buffer.baseAddress! + done
            let count =
                isReady
                ? clinux_pread_nowait(data, rest, buffer.count - done, off_t(offset) + off_t(done))
                : pread(data, rest, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }

    /// Writes the bytes of consecutive blocks, and only then that they are there.
    func write(_ blocks: [(bytes: UnsafeRawBufferPointer, checksum: UInt32)], from first: Int) throws(Errno) {
        var parts = blocks.map {
            iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.bytes.baseAddress), iov_len: $0.bytes.count)
        }
        // The object's last block may end anywhere.
        var file = direct >= 0 && blocks.allSatisfy { $0.bytes.count == DiskCache.blockBytes } ? direct : data
        var offset = off_t(first * DiskCache.blockBytes)
        var next = 0
        while next < parts.count {
            let count = parts.withUnsafeBufferPointer {
                pwritev(file, $0.baseAddress! + next, CInt($0.count - next), offset)
            }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EINVAL, file == direct {
                file = data
                continue
            }
            guard count > 0 else { throw count < 0 ? Errno(rawValue: errno) : .noSpace }
            offset += off_t(count)
            var rest = count
            while next < parts.count, rest >= parts[next].iov_len {
                rest -= parts[next].iov_len
                next += 1
            }
            if rest > 0 {
                parts[next].iov_base += rest
                parts[next].iov_len -= rest
            }
        }
        let records = blocks.enumerated().map { i, block in
            MapFile.record(block.checksum, block: first + i, digest).littleEndian
        }
        if let error = records.withUnsafeBytes({ writeMap($0, at: MapFile.offset(ofBlock: first)) }) { throw error }
    }

    /// Notes that a block isn't there after all.
    func erase(_ block: Int) {
        var none: UInt64 = 0
        _ = withUnsafeBytes(of: &none) { writeMap($0, at: MapFile.offset(ofBlock: block)) }
    }

    /// Notes that every block was verified in this epoch, and none was written since.
    func markVerified(in epoch: Epoch) throws(Errno) {
        var status = stat()
        guard fstat(data, &status) == 0 else { throw Errno(rawValue: errno) }
        try mark(Verification(epoch: epoch, stamp: FileStamp(status)))
    }

    /// Notes that not every block is verified.
    func markUnverified() throws(Errno) { try mark(Verification()) }

    private func mark(_ verification: Verification) throws(Errno) {
        let header = MapFile.header(digest, size: size, verification)
        if let error = header.withUnsafeBytes({ writeMap($0, at: 0) }) { throw error }
    }

    private func writeMap(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Errno? {
        var done = 0
        while done < bytes.count {
            let count = pwrite(map, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count < 0 ? Errno(rawValue: errno) : .noSpace }
            done += count
        }
        return nil
    }

    private func readHeader() -> Verification? {
        var header = [UInt8](repeating: 0, count: MapFile.headerBytes)
        guard pread(map, &header, header.count, 0) == header.count else { return nil }
        return header.withUnsafeBytes { MapFile.verification(inHeader: $0, digest, size: size) }
    }

    /// `trusted`: every block was verified in this epoch and the file is as it was then, which holds if all are there.
    private func readRecords(into blocks: BlockMap, trusted: Bool) {
        let chunkBlocks = 4096
        var records = [UInt64](repeating: 0, count: chunkBlocks)
        var block = 0
        while block < blocks.count {
            // The map of a huge object is a sparse file itself: holes are stepped over.
            let data = clinux_next_data(map, off_t(MapFile.offset(ofBlock: block)))
            guard data >= 0 else { break }
            block = max(block, (Int(data) - MapFile.headerBytes) / MapFile.recordBytes)
            let wanted = min(chunkBlocks, blocks.count - block)
            let count = records.withUnsafeMutableBytes {
                pread(map, $0.baseAddress!, wanted * MapFile.recordBytes, off_t(MapFile.offset(ofBlock: block)))
            }
            guard count >= MapFile.recordBytes else { break }
            for i in 0..<count / MapFile.recordBytes {
                let record = UInt64(littleEndian: records[i])
                if let checksum = MapFile.checksum(inRecord: record, block: block + i, digest) {
                    blocks.set(block + i, .present, checksum: checksum)
                }
            }
            block += count / MapFile.recordBytes
        }
        if trusted, blocks.present == blocks.count {
            for block in 0..<blocks.count { blocks[block] = .verified }
        }
    }
}
