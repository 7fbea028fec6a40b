import Glibc
import SystemPackage

/// The files below a directory, in the order of their names.
struct FileTree {
    struct Problem: Error {
        var path: String
        var errno: Errno
    }

    let root: String
    /// Patterns of paths from the root; none: all files.
    let globs: [GlobPattern]

    /// Calls `body` with each regular file's path from the root and its size, until it answers false. Links aren't
    /// followed; what goes away meanwhile is left out.
    func forEachFile(_ body: (_ path: String, _ size: UInt64) throws(Problem) -> Bool) throws(Problem) {
        _ = try walk("", body)
    }

    private func walk(_ directory: String, _ body: (String, UInt64) throws(Problem) -> Bool) throws(Problem) -> Bool {
        for name in try names(directory) {
            let path = directory.isEmpty ? name : "\(directory)/\(name)"
            var status = stat()
            guard lstat("\(root)/\(path)", &status) == 0 else {
                if errno == ENOENT { continue }
                throw Problem(path: path, errno: Errno(rawValue: errno))
            }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: guard try walk(path, body) else { return false }
            case S_IFREG where globs.isEmpty || globs.contains(where: { $0.matches(path) }):
                guard try body(path, UInt64(status.st_size)) else { return false }
            default: break
            }
        }
        return true
    }

    private func names(_ directory: String) throws(Problem) -> [String] {
        let path = directory.isEmpty ? root : "\(root)/\(directory)"
        guard let stream = opendir(path) else {
            if errno == ENOENT, !directory.isEmpty { return [] }
            throw Problem(path: path, errno: Errno(rawValue: errno))
        }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw Problem(path: path, errno: Errno(rawValue: errno)) }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
}
