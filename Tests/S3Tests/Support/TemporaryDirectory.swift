import Glibc

/// A directory that is gone with the value.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        var template = Array("/tmp/millrace-s3-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @discardableResult
    func write(_ name: String, _ text: String) -> String {
        let file = fopen("\(path)/\(name)", "w")!
        fputs(text, file)
        fclose(file)
        return "\(path)/\(name)"
    }

    deinit {
        guard let directory = opendir(path) else { return }
        while let entry = readdir(directory) {
            _ = withUnsafeBytes(of: entry.pointee.d_name) { name in
                unlink("\(path)/\(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))")
            }
        }
        closedir(directory)
        rmdir(path)
    }
}
