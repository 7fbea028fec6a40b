import Glibc
import SystemPackage

/// A manifest's bytes: a mapped file, or memory that a download fills. Freed with the last who uses them.
public final class ManifestBytes: @unchecked Sendable {
    let memory: UnsafeMutableRawBufferPointer

    /// Anonymous memory, zero at first.
    public init(count: Int) throws(Errno) {
        memory = try Self.map(count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1)
    }

    /// A file that nobody changes: only the pages that are looked at take memory.
    public init(file path: String) throws(Errno) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Errno(rawValue: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .invalidArgument }
        memory = try Self.map(Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor)
    }

    private static func map(
        _ count: Int, _ protection: Int32, _ flags: Int32, _ descriptor: Int32
    ) throws(Errno) -> UnsafeMutableRawBufferPointer {
        guard count > 0 else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        guard let start = mmap(nil, count, protection, flags, descriptor, 0), start != MAP_FAILED else {
            throw Errno(rawValue: errno)
        }
        return UnsafeMutableRawBufferPointer(start: start, count: count)
    }

    deinit { if let start = memory.baseAddress { munmap(start, memory.count) } }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }

    /// Copies into the memory; before anybody reads it.
    func fill(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        guard offset >= 0, offset + bytes.count <= memory.count else { return }
        UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + bytes.count]).copyMemory(from: bytes)
    }
}
