/// How a long piece of work gets on, as its Job's pod tells the controller: JSON at `/progress` while it runs, and the
/// last one in the container's termination message.
public struct ProgressReport: Sendable, Equatable {
    public enum Phase: String, Sendable {
        case listing = "Listing"
        case copying = "Copying"
        case warming = "Warming"
        case succeeded = "Succeeded"
        case failed = "Failed"
    }

    public var phase: Phase
    /// Objects that are done.
    public var objects = 0
    /// Nil while it isn't known.
    public var objectsTotal: Int?
    public var bytes: UInt64 = 0
    public var bytesTotal: UInt64?
    /// Why it failed, or what is worth knowing.
    public var message = ""
    /// A failure that trying again won't mend, such as a wrong checksum.
    public var isFinal = false

    public init(_ phase: Phase) { self.phase = phase }

    /// One line, with members that are always there in the same order.
    public var json: String {
        func number(_ value: (some BinaryInteger)?) -> String { value.map { String($0) } ?? "null" }
        return "{\"phase\":\"\(phase.rawValue)\",\"objects\":\(objects),\"objectsTotal\":\(number(objectsTotal)),"
            + "\"bytes\":\(bytes),\"bytesTotal\":\(number(bytesTotal)),\"final\":\(isFinal),"
            + "\"message\":\"\(Self.escaped(message))\"}"
    }

    /// For a JSON string; shortened, as the kubelet keeps 4096 bytes of a termination message.
    private static func escaped(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            if out.utf8.count > 2000 { return out + "…" }
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f: out += " "
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}
