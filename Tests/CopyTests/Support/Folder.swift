import Glibc

/// A directory that goes away with the test.
final class Folder {
    let path: String

    init() {
        var template = Array("/tmp/millrace-copy-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit { remove(path) }

    private func remove(_ path: String) {
        for name in names(of: path) {
            if unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        }
        rmdir(path)
    }

    func names(of directory: String? = nil) -> [String] {
        guard let stream = opendir(directory ?? path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Whether a file holds just these bytes. (An #expect on the arrays themselves would print megabytes.)
    func holds(_ name: String, _ bytes: [UInt8]) -> Bool { self.bytes(of: name) == bytes }

    func bytes(of name: String) -> [UInt8]? {
        let file = open("\(path)/\(name)", O_RDONLY)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var status = stat()
        fstat(file, &status)
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let n = read(file, &bytes, bytes.count)
        return n == bytes.count ? bytes : nil
    }
}
