/// Limits on what a caller may send. CSI asks for ids of at most 128 bytes; its 4 KiB for maps is too little for a
/// certificate or a token, so ours is larger.
enum Checks {
    static let maxIDBytes = 128
    static let maxPathBytes = 4_096
    static let maxMapBytes = 64 << 10

    static func volumeID(_ id: String) throws(Refusal) {
        guard !id.isEmpty else { throw .invalid("volume_id is missing") }
        guard id.utf8.count <= maxIDBytes else {
            throw .invalid("volume_id has \(id.utf8.count) bytes, the limit is \(maxIDBytes)")
        }
        guard isPrintable(id) else { throw .invalid("volume_id has control characters") }
    }

    /// The path without a slash at its end or two in a row.
    static func path(_ path: String, _ field: String) throws(Refusal) -> String {
        guard !path.isEmpty else { throw .invalid("\(field) is missing") }
        guard path.utf8.count <= maxPathBytes else {
            throw .invalid("\(field) has \(path.utf8.count) bytes, the limit is \(maxPathBytes)")
        }
        guard isPrintable(path) else { throw .invalid("\(field) has control characters") }
        guard path.hasPrefix("/") else { throw .invalid("\(field) must be an absolute path, not \(path)") }
        let components = path.split(separator: "/")
        guard !components.contains(where: { $0 == ".." || $0 == "." }) else {
            throw .invalid("\(field) must not have \".\" or \"..\" in it: \(path)")
        }
        guard !components.isEmpty else { throw .invalid("\(field) must not be the root directory") }
        return "/" + components.joined(separator: "/")
    }

    static func map(_ map: [String: String], _ field: String) throws(Refusal) {
        let bytes = map.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard bytes <= maxMapBytes else {
            throw .invalid("\(field) has \(bytes) bytes, the limit is \(maxMapBytes)")
        }
    }

    static func isPrintable(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f }
    }

    /// A name that came from outside, cut and made safe for a message.
    static func quoted(_ name: String) -> String {
        let safe = name.unicodeScalars.prefix(80).map { $0.value >= 0x20 && $0.value != 0x7f ? Character($0) : "?" }
        return "\"" + String(safe) + "\""
    }
}
