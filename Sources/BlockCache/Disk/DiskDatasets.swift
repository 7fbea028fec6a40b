import CCrypto

/// Whose the bytes are that a disk cache keeps, and how it treats them when room is short.
public struct CachePolicy: Sendable, Equatable {
    public static let defaultPriority = 100
    public static let priorities = 0...1000

    /// `namespace/name` of a Dataset, or another name for people; "": nobody's in particular.
    public var dataset: String
    /// The lowest gives way first.
    public var priority: Int
    /// Never gives way, while it is in use and for `DiskDatasets.pinLingersSeconds` after.
    public var isPinned: Bool
    /// The most that the dataset may take on disk, in bytes; nil: as much as the cache.
    public var quotaBytes: UInt64?

    public init(
        dataset: String = "", priority: Int = CachePolicy.defaultPriority, isPinned: Bool = false,
        quotaBytes: UInt64? = nil
    ) {
        self.dataset = dataset
        self.priority = priority
        self.isPinned = isPinned
        self.quotaBytes = quotaBytes
    }
}

/// Stands for a dataset within one run of a cache; 0: none in particular.
public typealias DatasetNumber = UInt16

/// The datasets that have files in the cache, or sessions, and which of them give way for others. No I/O, no clock.
struct DiskDatasets {
    /// What belongs to no dataset in particular.
    static let nobody: DatasetNumber = 0
    /// A pin that nobody renews ends some time: a Dataset that is deleted must not hold a node's disk for ever. Longer
    /// than a long weekend.
    static let pinLingersSeconds = 4 * 86_400

    struct Dataset: Equatable {
        var policy: CachePolicy
        /// The name of its folder in the cache's; "": the cache's own.
        let folder: String
        var sessions = 0
        /// Seconds since 1970.
        var lastUse = 0
    }

    private(set) var all = [Dataset(policy: CachePolicy(), folder: "")]
    private var numbers: [String: DatasetNumber] = ["": nobody]

    subscript(number: DatasetNumber) -> Dataset { all[Int(number)] }

    /// The dataset in a folder that an earlier run left.
    mutating func found(_ policy: CachePolicy, folder: String, lastUse: Int) -> DatasetNumber {
        let number = number(of: policy, folder: folder)
        if all[Int(number)].sessions == 0 {
            all[Int(number)].policy = policy
            all[Int(number)].lastUse = max(all[Int(number)].lastUse, lastUse)
        }
        return number
    }

    /// A session begins: what it says of the dataset holds from now on.
    mutating func enter(_ policy: CachePolicy, now: Int) -> DatasetNumber {
        let number = number(of: policy, folder: Self.folder(of: policy.dataset))
        if number != Self.nobody { all[Int(number)].policy = policy }
        all[Int(number)].sessions += 1
        all[Int(number)].lastUse = now
        return number
    }

    mutating func leave(_ number: DatasetNumber, now: Int) {
        all[Int(number)].sessions -= 1
        all[Int(number)].lastUse = now
    }

    private mutating func number(of policy: CachePolicy, folder: String) -> DatasetNumber {
        if let known = numbers[folder] { return known }
        // More than a node ever has; the others share what is nobody's.
        guard all.count < Int(DatasetNumber.max) else { return Self.nobody }
        all.append(Dataset(policy: policy, folder: folder))
        numbers[folder] = DatasetNumber(all.count - 1)
        return DatasetNumber(all.count - 1)
    }

    func isPinned(_ number: DatasetNumber, now: Int) -> Bool {
        let dataset = all[Int(number)]
        return dataset.policy.isPinned && (dataset.sessions > 0 || now - dataset.lastUse < Self.pinLingersSeconds)
    }

    /// Which datasets give way for one that needs room (nil: for others on the disk), those that go first first. What is
    /// pinned doesn't, nor what has a higher priority.
    func givingWay(to number: DatasetNumber?, now: Int) -> [[DatasetNumber]] {
        let limit = number.map { all[Int($0)].policy.priority } ?? .max
        let candidates = all.indices.map(DatasetNumber.init).filter {
            all[Int($0)].policy.priority <= limit && !isPinned($0, now: now)
        }
        let ranks = Dictionary(grouping: candidates) { all[Int($0)].policy.priority }
        return ranks.sorted { $0.key < $1.key }.map(\.value)
    }

    /// Whether a file of one is better off with the other, which uses it too.
    func outranks(_ other: DatasetNumber, _ number: DatasetNumber) -> Bool {
        guard other != number else { return false }
        let (new, old) = (all[Int(other)].policy, all[Int(number)].policy)
        return (new.isPinned ? 1 : 0, new.priority) > (old.isPinned ? 1 : 0, old.priority)
    }

    /// 16 hexadecimal digits of the name's SHA-256: names have characters and lengths that file names can't have.
    static func folder(of dataset: String) -> String {
        guard !dataset.isEmpty else { return "" }
        var digest = [UInt8](repeating: 0, count: 32)
        let bytes = Array(dataset.utf8)
        let status = EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
        precondition(status == 1, "SHA-256 failed")
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: digest.prefix(8).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

/// The file in a dataset's folder that says whose it is: lines of "name value" that a person can read too. Its time is
/// that of the last use.
enum DatasetFile {
    static let name = "dataset"
    private static let firstLine = "millrace dataset 1"

    static func text(_ policy: CachePolicy) -> String {
        "\(firstLine)\nname \(escaped(policy.dataset))\npriority \(policy.priority)\npinned \(policy.isPinned)\n"
            + (policy.quotaBytes.map { "quota \($0)\n" } ?? "")
    }

    static func policy(_ text: String) -> CachePolicy? {
        let lines = text.split(separator: "\n")
        guard lines.first.map(String.init) == firstLine else { return nil }
        var policy = CachePolicy()
        for line in lines.dropFirst() {
            let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "name": policy.dataset = unescaped(parts[1])
            case "priority": policy.priority = Int(parts[1]) ?? policy.priority
            case "pinned": policy.isPinned = parts[1] == "true"
            case "quota": policy.quotaBytes = UInt64(parts[1])
            default: break
            }
        }
        return policy.dataset.isEmpty ? nil : policy
    }

    // A line each, whatever is in a name: an end of line becomes \n or \r, a backslash two.

    private static func escaped(_ name: String) -> String {
        var text = String.UnicodeScalarView()
        for scalar in name.unicodeScalars {
            switch scalar {
            case "\n": text += "\\n".unicodeScalars
            case "\r": text += "\\r".unicodeScalars
            case "\\": text += "\\\\".unicodeScalars
            default: text.append(scalar)
            }
        }
        return String(text)
    }

    private static func unescaped(_ text: Substring) -> String {
        var name = String.UnicodeScalarView()
        var rest = text.unicodeScalars.makeIterator()
        while let scalar = rest.next() {
            guard scalar == "\\" else {
                name.append(scalar)
                continue
            }
            switch rest.next() {
            case "n"?: name.append("\n")
            case "r"?: name.append("\r")
            case let other?: name.append(other)
            case nil: break
            }
        }
        return String(name)
    }
}
