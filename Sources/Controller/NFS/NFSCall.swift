/// The few calls of ONC RPC (RFC 5531) and NFS version 4.0 (RFC 7530) that tell whether an export is there. No I/O.
enum NFSCall {
    static let program: UInt32 = 100_003

    /// A call that does nothing: answered by whoever speaks this version of NFS.
    static func null(version: UInt32, id: UInt32) -> [UInt8] {
        message(version: version, procedure: 0, id: id) { writer in
            // Neither a user nor a verifier.
            for _ in 0..<4 { writer.number(0) }
        }
    }

    /// Walks from the server's root along the path and asks what kind of file is there.
    static func lookup(path: [String], id: UInt32) -> [UInt8] {
        message(version: 4, procedure: 1, id: id) { writer in
            var user = XDRWriter()
            user.number(0)
            user.opaque(Array("millrace".utf8))
            // Nobody, in no group: what everyone may see.
            for value: UInt32 in [65534, 65534, 0] { user.number(value) }
            writer.number(1)  // AUTH_SYS
            writer.opaque(user.bytes)
            writer.number(0)
            writer.number(0)
            writer.opaque([])  // tag
            writer.number(0)  // minor version
            writer.number(UInt32(path.count + 2))
            writer.number(24)  // PUTROOTFH
            for name in path {
                writer.number(15)  // LOOKUP
                writer.opaque(Array(name.utf8))
            }
            writer.number(9)  // GETATTR
            writer.number(1)
            writer.number(1 << 1)  // its type
        }
    }

    private static func message(
        version: UInt32, procedure: UInt32, id: UInt32, _ rest: (inout XDRWriter) -> Void
    ) -> [UInt8] {
        var writer = XDRWriter()
        for value in [id, 0, 2, program, version, procedure] { writer.number(value) }
        rest(&writer)
        var framed = XDRWriter()
        // The last and only fragment of the record.
        framed.number(1 << 31 | UInt32(writer.bytes.count))
        return framed.bytes + writer.bytes
    }
}

/// What a server said to a call.
enum NFSReply: Equatable {
    /// It did it; what NFS has to say comes next.
    case accepted([UInt8])
    /// It speaks NFS, but not this version.
    case otherVersion
    case refused(String)
    case garbled

    /// `record`: without its mark.
    init(_ record: [UInt8], to id: UInt32) {
        var reader = XDRReader(record)
        guard reader.number() == id, reader.number() == 1, let state = reader.number() else {
            self = .garbled
            return
        }
        if state == 1 {
            self = .refused(reader.number() == 1 ? "it wants other credentials" : "it speaks another version of RPC")
            return
        }
        guard state == 0, reader.number() != nil, reader.opaque() != nil, let result = reader.number() else {
            self = .garbled
            return
        }
        switch result {
        case 0: self = .accepted(Array(record.suffix(reader.left)))
        case 1: self = .refused("it serves no NFS")
        case 2: self = .otherVersion
        default: self = .refused("RPC error \(result)")
        }
    }
}

/// What a walk along a path came to.
enum NFSLookup: Equatable {
    case directory
    case notADirectory
    /// The first name that isn't there, by its place in the path.
    case missing(Int)
    case denied
    /// It can't be told this way.
    case unknown(String)

    /// `result`: of a COMPOUND that `NFSCall.lookup` made, for a path of so many names.
    init(_ result: [UInt8], names: Int) {
        var reader = XDRReader(result)
        guard let status = reader.number(), reader.opaque() != nil, let count = reader.number() else {
            self = .unknown("an answer that can't be understood")
            return
        }
        switch status {
        case 0:
            // PUTROOTFH and each LOOKUP: which operation, and that it went well.
            for _ in 0..<(2 * (names + 1) + 2) { _ = reader.number() }
            let size = reader.number() ?? 0
            for _ in 0..<min(size, 8) { _ = reader.number() }
            var attributes = XDRReader(reader.opaque() ?? [])
            self = attributes.number() == 2 ? .directory : .notADirectory
        // The last operation is the one that failed; the first one is PUTROOTFH.
        case 2: self = .missing(max(0, Int(count) - 2))
        case 20: self = .notADirectory
        case 1, 13, 10016: self = .denied
        default: self = .unknown("NFS error \(status)")
        }
    }
}
