import Glibc

/// Finds the cache's files in its folders. Names that aren't the cache's are left alone.
enum DiskScan {
    struct File {
        let digest: DiskDigest
        /// Room on disk of both files.
        var bytes: UInt64
        /// Seconds since 1970.
        var lastUse: Int
        /// Of the dataset, "" where it belongs to none.
        let folder: String
        fileprivate var hasMap = false
        fileprivate var hasData = false
    }

    struct Folder {
        let name: String
        let policy: CachePolicy
        /// Seconds since 1970.
        let lastUse: Int
    }

    /// The datasets' folders.
    static func folders(_ directory: DiskDirectory) -> [Folder] {
        var names: [String] = []
        directory.forEachName { name in
            if name.count == 16 { names.append(String(decoding: name, as: UTF8.self)) }
        }
        return names.compactMap { name in
            directory.description(of: name).map { Folder(name: name, policy: $0.policy, lastUse: $0.lastUse) }
        }
    }

    /// All files, newest first. What lacks its map or its data is removed: the other half can't be used. Empty folders
    /// stay: a session may just have made one.
    static func files(_ directory: DiskDirectory) -> [File] {
        var files = files(in: "", directory)
        for folder in folders(directory) { files += Self.files(in: folder.name, directory) }
        return files.sorted { $0.lastUse > $1.lastUse }
    }

    private static func files(in folder: String, _ directory: DiskDirectory) -> [File] {
        var found: [DiskDigest: File] = [:]
        let mapEnding = Array(".map".utf8)
        directory.forEachName(in: folder) { name in
            let isMap = name.count == 68 && name.suffix(4).elementsEqual(mapEnding)
            guard let digest = DiskDigest(name: isMap ? name.dropLast(4) : name[...]) else { return }
            let path = isMap ? DiskFiles.mapName(digest, in: folder) : DiskFiles.dataName(digest, in: folder)
            var status = stat()
            guard fstatat(directory.descriptor, path, &status, AT_SYMLINK_NOFOLLOW) == 0,
                status.st_mode & S_IFMT == S_IFREG
            else { return }
            var file = found[digest] ?? File(digest: digest, bytes: 0, lastUse: 0, folder: folder)
            file.bytes += UInt64(status.st_blocks) * 512
            if isMap {
                file.hasMap = true
                file.lastUse = status.st_mtim.tv_sec
            } else {
                file.hasData = true
            }
            found[digest] = file
        }
        for file in found.values where !file.hasMap || !file.hasData {
            DiskFiles.remove(file.digest, from: directory, folder: folder)
        }
        return found.values.filter { $0.hasMap && $0.hasData }
    }
}
