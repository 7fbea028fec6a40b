import S3

/// One object to copy and the file it becomes.
public struct CopyItem: Sendable, Equatable {
    public var key: ObjectKey
    public var etag: String
    public var size: UInt64
    /// Seconds since 1970; the file gets it as its modification time.
    public var modified: Int64
    /// Path below the destination directory, or the destination file itself where it is empty.
    public var relativePath: String
    /// How often it was begun anew because the source had changed.
    var restarts = 0

    public init(key: ObjectKey, etag: String, size: UInt64, modified: Int64, relativePath: String) {
        self.key = key
        self.etag = etag
        self.size = size
        self.modified = modified
        self.relativePath = relativePath
    }
}

/// How a copy is made.
public struct CopyOptions: Sendable {
    public enum ChangePolicy: String, Sendable, CaseIterable {
        /// The object is copied anew, a few times at most.
        case restart
        case fail
    }

    /// GETs in flight.
    public var concurrency = 32
    /// Copy again what is there already.
    public var overwrite = false
    /// What to do about an object that is replaced while it is copied.
    public var onChange = ChangePolicy.restart
    /// What files must hash to.
    public var checksums = ChecksumList()
    /// Whether each file is compared with the checksum that the store keeps of the object, or with an ETag that is an MD5.
    public var verifiesStored = false

    public init() {}
}

/// What becomes of an object's key below a destination directory.
public enum CopyPath: Equatable, Sendable {
    case file(String)
    /// A marker object `dir/`.
    case directory(String)
    /// A key that would leave the destination or that no file system can hold; the text says why.
    case refused(String)

    /// - Parameter name: the key without the copied prefix.
    public init(name: some Collection<UInt8>) {
        let text = String(decoding: name, as: UTF8.self)
        guard Array(text.utf8) == Array(name), !name.contains(0) else {
            self = .refused("its name is not UTF-8 text")
            return
        }
        guard !text.isEmpty else {
            self = .directory("")
            return
        }
        let isDirectory = text.hasSuffix("/")
        let parts = (isDirectory ? text.dropLast() : text[...]).split(separator: "/", omittingEmptySubsequences: false)
        for part in parts {
            if part.isEmpty {
                self = .refused("its name has an empty part (//)")
                return
            }
            if part == "." || part == ".." {
                self = .refused("its name has a part \(part)")
                return
            }
            if part.utf8.count > 255 {
                self = .refused("its name has a part longer than 255 bytes")
                return
            }
        }
        let path = parts.joined(separator: "/")
        self = isDirectory ? .directory(path) : .file(path)
    }
}
