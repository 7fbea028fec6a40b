import CCrypto
import CLinux
import S3

/// Writes a manifest from pages of a listing, in whatever order they come; what it keeps is one record for each block.
public struct ManifestWriter {
    /// Takes the next bytes of the file.
    public typealias Output = ([UInt8]) throws -> Void

    private struct Block {
        var offset: UInt64
        var length: UInt32
        var count: UInt32
        var checksum: UInt32
        var first: [UInt8]
        var last: [UInt8]
    }

    public private(set) var info: ManifestInfo
    private let output: Output
    private var blocks: [Block] = []
    private var offset: UInt64 = 0
    private var digest = ContentDigest()

    public init(_ info: ManifestInfo, output: @escaping Output) throws {
        self.info = info
        self.output = output
        try write(ManifestLayout.magic + [UInt8](repeating: 0, count: ManifestLayout.headerBytes - 8))
    }

    /// Adds the objects of a page. No key may be in two pages. Throws what `output` throws.
    public mutating func add(_ page: ListPage) throws {
        var start = 0
        while start < page.objects.count {
            let end = min(start + ManifestBlock.maxCount, page.objects.count)
            try page.bytes.withUnsafeBytes { try add(page.objects[start..<end], $0) }
            start = end
        }
    }

    private mutating func add(_ objects: ArraySlice<ListPage.Object>, _ bytes: UnsafeRawBufferPointer) throws {
        guard let first = objects.first, let last = objects.last else { return }
        let encoded = ManifestBlock.encode(objects, bytes)
        blocks.append(
            Block(
                offset: offset, length: UInt32(encoded.count), count: UInt32(objects.count), checksum: crc32c(encoded),
                first: Array(bytes[first.key]), last: Array(bytes[last.key])))
        for object in objects {
            info.objects += 1
            info.bytes &+= object.size
            if !object.version.isEmpty, !bytes[object.version].elementsEqual("null".utf8) { info.versioned += 1 }
            digest.add(object, bytes)
        }
        try write(encoded)
    }

    /// Writes the index and the end; answers what the manifest says of itself.
    public mutating func finish() throws -> ManifestInfo {
        blocks.sort { $0.first.lexicographicallyPrecedes($1.first) }
        for (a, b) in zip(blocks, blocks.dropFirst()) where !a.last.lexicographicallyPrecedes(b.first) {
            throw ManifestError("the listing told of \(String(decoding: b.first, as: UTF8.self)) twice")
        }
        info.digest = digest.hex
        var index: [UInt8] = []
        var keys: [UInt8] = []
        for block in blocks {
            keys += block.first
            index.append(littleEndian: block.offset)
            index.append(littleEndian: block.length)
            index.append(littleEndian: block.count)
            index.append(littleEndian: block.checksum)
            index.append(littleEndian: UInt32(truncatingIfNeeded: keys.count))
        }
        index += keys
        guard UInt64(index.count) <= ManifestLayout.maxIndexBytes else {
            throw ManifestError("it has too many objects")
        }
        let indexOffset = offset
        try write(index)
        let infoOffset = offset
        let encoded = info.encoded
        try write(encoded)

        var footer: [UInt8] = []
        footer.append(littleEndian: indexOffset)
        footer.append(littleEndian: UInt64(index.count))
        footer.append(littleEndian: infoOffset)
        footer.append(littleEndian: UInt64(encoded.count))
        footer.append(littleEndian: UInt64(blocks.count))
        footer.append(littleEndian: crc32c(index))
        footer.append(littleEndian: crc32c(encoded))
        footer.append(littleEndian: UInt32(0))
        footer.append(littleEndian: crc32c(footer))
        footer += ManifestLayout.magic
        try write(footer)
        return info
    }

    private mutating func write(_ bytes: [UInt8]) throws {
        try output(bytes)
        offset += UInt64(bytes.count)
    }
}

func crc32c(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { crc32c($0) } }
func crc32c(_ bytes: UnsafeRawBufferPointer) -> UInt32 { clinux_crc32c(0, bytes.baseAddress, bytes.count) }

/// A digest of a set: the sum of its members' SHA-256, so that the order in which they come doesn't matter. Tells
/// whether two snapshots differ; it is no protection against who makes up contents.
private struct ContentDigest {
    private var sum: UInt128 = 0
    private var text: [UInt8] = []
    private var hash = [UInt8](repeating: 0, count: 32)

    mutating func add(_ object: ListPage.Object, _ bytes: UnsafeRawBufferPointer) {
        text.removeAll(keepingCapacity: true)
        for part in [object.key, object.etag, object.version] {
            text += bytes[part]
            text.append(0)
        }
        text.append(littleEndian: object.size)
        let status = EVP_Digest(text, text.count, &hash, nil, EVP_sha256(), nil)
        precondition(status == 1, "SHA-256 failed")
        sum &+= hash.withUnsafeBytes { $0.loadUnaligned(as: UInt128.self) }
    }

    var hex: String {
        let text = String(sum, radix: 16)
        return String(repeating: "0", count: 32 - text.count) + text
    }
}
