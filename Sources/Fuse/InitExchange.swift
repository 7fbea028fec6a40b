/// The handshake of a FUSE connection: what the kernel offered (FUSE_INIT) and what we answer.
///
/// The kernel sends FUSE_INIT once in a connection's life, but every engine that takes the connection over needs a
/// libfuse session that has seen it. So the request's bytes are kept and replayed to the new session, whose answer is
/// swallowed. The answer itself is ours, as libfuse 3.14 knows nothing of passthrough.
public struct InitExchange: Sendable, Equatable {
    /// The request as the kernel sent it: header and struct fuse_init_in.
    public let request: [UInt8]

    /// `request`: the bytes of FUSE_INIT. Nil where they are something else.
    public init?(request: some Collection<UInt8>) {
        let bytes = Array(request)
        // The fields up to `flags`; kernels since 5.17 send `flags2` and more.
        guard bytes.count >= Protocol.inHeaderBytes + 16, bytes.count <= 1024 else { return nil }
        self.request = bytes
        guard word(0) == UInt32(bytes.count), word(4) == Protocol.Opcode.initialize, major == 7 else { return nil }
    }

    var unique: UInt64 { request.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self) } }
    var major: UInt32 { word(Protocol.inHeaderBytes) }
    var minor: UInt32 { word(Protocol.inHeaderBytes + 4) }
    var maxReadAhead: UInt32 { word(Protocol.inHeaderBytes + 8) }

    /// What the kernel can do.
    public var offered: Flags {
        let low = UInt64(word(Protocol.inHeaderBytes + 12))
        let hasMore = low & Flags.extended.rawValue != 0 && request.count >= Protocol.inHeaderBytes + 20
        return Flags(rawValue: low | (hasMore ? UInt64(word(Protocol.inHeaderBytes + 16)) << 32 : 0))
    }

    private func word(_ offset: Int) -> UInt32 {
        request.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
    }

    /// FUSE_INIT's flags, the second word in the upper half.
    public struct Flags: OptionSet, Sendable, Hashable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }

        static let asyncRead = Flags(rawValue: 1 << 0)
        static let autoInvalidate = Flags(rawValue: 1 << 12)
        static let readdirplus = Flags(rawValue: 1 << 13)
        static let readdirplusAuto = Flags(rawValue: 1 << 14)
        static let asyncDirectIO = Flags(rawValue: 1 << 15)
        static let parallelDirectoryOperations = Flags(rawValue: 1 << 18)
        static let abortError = Flags(rawValue: 1 << 21)
        static let maxPages = Flags(rawValue: 1 << 22)
        static let extended = Flags(rawValue: 1 << 30)
        public static let passthrough = Flags(rawValue: 1 << 37)
        public static let resend = Flags(rawValue: 1 << 39)
    }

    /// What we take of it. `wanted` narrows it further: passthrough is optional.
    func accepted(passthrough: Bool) -> Flags {
        var wanted: Flags = [
            .asyncRead, .autoInvalidate, .readdirplus, .readdirplusAuto, .asyncDirectIO, .parallelDirectoryOperations,
            .abortError, .maxPages, .extended,
        ]
        if passthrough { wanted.insert(.passthrough) }
        return wanted.intersection(offered)
    }

    /// The whole answer: header and struct fuse_init_out.
    func answer(passthrough: Bool) -> [UInt8] {
        let flags = accepted(passthrough: passthrough)
        let length = Protocol.outHeaderBytes + Protocol.initAnswerBytes
        var out = [UInt8](repeating: 0, count: length)
        out.withUnsafeMutableBytes { out in
            func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
                out.storeBytes(of: value, toByteOffset: offset, as: T.self)
            }
            put(UInt32(length), at: 0)
            put(unique, at: 8)
            let body = Protocol.outHeaderBytes
            put(UInt32(7), at: body)
            // 40 is the first protocol with passthrough; below that the kernel's own.
            put(min(minor, 40), at: body + 4)
            put(maxReadAhead, at: body + 8)
            put(UInt32(truncatingIfNeeded: flags.rawValue), at: body + 12)
            // Read-ahead requests of all readers together; the kernel's default of 12 is one reader's window.
            put(UInt16(256), at: body + 16)
            put(UInt16(192), at: body + 18)
            put(UInt32(Protocol.maxWrite), at: body + 20)
            put(UInt32(1), at: body + 24)
            put(UInt16(Protocol.maxPages), at: body + 28)
            put(UInt32(flags.rawValue >> 32), at: body + 32)
            // A file system may be stacked once on ours: the cache's files are not on another stacked one.
            put(UInt32(flags.contains(.passthrough) ? 1 : 0), at: body + 36)
        }
        return out
    }
}
