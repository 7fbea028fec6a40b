/// Which parts of keys can be names of files and directories.
enum EntryName {
    static let maxCount = 255

    /// Why a name can't be shown; nil: it can.
    static func fault(_ name: Bytes) -> String? {
        switch name.count {
        case 0: return "an empty name between two slashes"
        case 1 where name[0] == UInt8(ascii: "."): return "the name \".\""
        case 2 where name[0] == UInt8(ascii: ".") && name[1] == UInt8(ascii: "."): return "the name \"..\""
        case (maxCount + 1)...: return "a name of more than 255 bytes"
        default: return name.contains(0) ? "a zero byte in a name" : nil
        }
    }
}
