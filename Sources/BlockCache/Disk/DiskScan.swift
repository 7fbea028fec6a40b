import Glibc

/// Finds the cache's files in its folder. Names that aren't the cache's are left alone.
enum DiskScan {
    struct Found {
        let digest: DiskDigest
        /// Room on disk of both files.
        var bytes: UInt64
        /// Seconds since 1970.
        var lastUse: Int
        var hasMap: Bool
        var hasData: Bool
    }

    /// Newest first. What lacks its map or its data is removed: the other half can't be used.
    static func run(_ directory: DiskDirectory) -> [Found] {
        var found: [DiskDigest: Found] = [:]
        let mapEnding = Array(".map".utf8)
        directory.forEachName { name in
            let isMap = name.count == 68 && name.suffix(4).elementsEqual(mapEnding)
            guard let digest = DiskDigest(name: isMap ? name.dropLast(4) : name[...]) else { return }
            var status = stat()
            guard
                fstatat(
                    directory.descriptor, isMap ? DiskFiles.mapName(digest) : digest.name, &status, AT_SYMLINK_NOFOLLOW)
                    == 0,
                status.st_mode & S_IFMT == S_IFREG
            else { return }
            var file = found[digest] ?? Found(digest: digest, bytes: 0, lastUse: 0, hasMap: false, hasData: false)
            file.bytes += UInt64(status.st_blocks) * 512
            if isMap {
                file.hasMap = true
                file.lastUse = status.st_mtim.tv_sec
            } else {
                file.hasData = true
            }
            found[digest] = file
        }
        for file in found.values where !file.hasMap { directory.remove(file.digest.name) }
        for file in found.values where !file.hasData { directory.remove(DiskFiles.mapName(file.digest)) }
        return found.values.filter { $0.hasMap && $0.hasData }.sorted { $0.lastUse > $1.lastUse }
    }
}
