import ArgumentParser

/// A number of bytes: `64K`, `128M`, `2G`, `1T`, each a power of 1024, also with `i`, `B` or both behind (`512Mi`, as
/// Kubernetes writes it); or plain bytes.
struct ByteSize: ExpressibleByArgument, Equatable, CustomStringConvertible {
    var bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard let count = UInt64(digits) else { return nil }
        let unit = argument.dropFirst(digits.count).uppercased()
        let shift: UInt64
        switch unit {
        case "", "B": shift = 0
        case "K", "KB", "KI", "KIB": shift = 10
        case "M", "MB", "MI", "MIB": shift = 20
        case "G", "GB", "GI", "GIB": shift = 30
        case "T", "TB", "TI", "TIB": shift = 40
        default: return nil
        }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << shift)
        guard !overflow else { return nil }
        self.bytes = bytes
    }

    var description: String {
        let units: [(UInt64, String)] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        for (unit, name) in units where bytes >= unit {
            let tenths = bytes * 10 / unit
            return tenths % 10 == 0 ? "\(tenths / 10) \(name)" : "\(tenths / 10).\(tenths % 10) \(name)"
        }
        return "\(bytes) B"
    }
}

/// A length of time: `500ms`, `30s`, `5m`, `1h`; a plain number is seconds.
struct Span: ExpressibleByArgument, Equatable {
    var ms: Int

    init(ms: Int) { self.ms = ms }

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard let count = Int(digits) else { return nil }
        let factor: Int
        switch argument.dropFirst(digits.count) {
        case "ms": factor = 1
        case "", "s": factor = 1000
        case "m": factor = 60_000
        case "h": factor = 3_600_000
        default: return nil
        }
        let (ms, overflow) = count.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        self.ms = ms
    }
}

/// Permission bits in octal: `444`, `0755`.
struct FileMode: ExpressibleByArgument, Equatable {
    var bits: UInt32

    init(bits: UInt32) { self.bits = bits }

    init?(argument: String) {
        guard let bits = UInt32(argument, radix: 8), bits <= 0o777 else { return nil }
        self.bits = bits
    }
}
