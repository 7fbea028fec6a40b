/// Where things are in a manifest. All integers are little-endian.
///
///     header   "MRMANIF" and the format's number, a byte; 8 bytes of zero
///     blocks   in the order in which they were written, which may be any
///     index    one record for each block, in key order; then the blocks' first keys
///     info     what the manifest says of itself
///     footer   where index and info are, and their checksums
///
/// Every checksum is a CRC32C. Blocks have theirs in the index, so that one that is not read costs nothing.
enum ManifestLayout {
    static let format: UInt8 = 1
    static let magic = Array("MRMANIF".utf8) + [format]
    static let headerBytes = 16
    static let footerBytes = 64

    /// A block's: offset u64, length u32, objects u32, CRC32C u32, where its first key ends in the keys u32.
    static let recordBytes = 24
    /// A manifest may have so many objects that its blocks' records and keys have this many bytes.
    static let maxIndexBytes = UInt64(UInt32.max)

    /// The fields of the footer, by their offsets in it.
    enum Footer {
        static let indexOffset = 0
        static let indexLength = 8
        static let infoOffset = 16
        static let infoLength = 24
        static let blockCount = 32
        static let indexChecksum = 40
        static let infoChecksum = 44
        /// Of what is before it in the footer.
        static let checksum = 52
        static let magic = 56
    }
}
