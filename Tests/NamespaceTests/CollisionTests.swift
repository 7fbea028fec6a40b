import S3
import SystemPackage
import Testing

@testable import Namespace

/// Two names in one directory whose hashes are equal, which the hash is simple enough to make.
@Suite struct CollisionTests {
    private static let names: [String] = {
        var random = Random(seed: 1)
        func word(_ text: [UInt8]) -> UInt64 {
            text.enumerated().reduce(0) { $0 | UInt64($1.element) << (8 * $1.offset) }
        }
        func letters() -> [UInt8] { (0..<8).map { _ in UInt8(0x61 + random.below(26)) } }
        // As EntryHash takes eight bytes in.
        func state(_ text: [UInt8]) -> UInt64 {
            let input = rootInode ^ 0x9e37_79b9_7f4a_7c15 ^ word(text)
            let product = input.multipliedFullWidth(by: 0xa076_1d64_78bd_642f)
            return (product.high ^ product.low ^ input.byteSwapped) &+ 0xe703_7ed1_a0b4_28db
        }
        let first = letters() + letters()
        while true {
            let head = letters()
            let difference = state(Array(first[..<8])) ^ state(head)
            let tail = (0..<8).map { first[8 + $0] ^ UInt8(truncatingIfNeeded: difference >> (8 * UInt64($0))) }
            if tail.allSatisfy({ (0x21...0x7e).contains($0) && $0 != slash }) {
                return [first, head + tail].map { String(decoding: $0, as: UTF8.self) }.sorted()
            }
        }
    }()

    @Test func theNamesCollide() {
        let hashes = Self.names.map { name in
            Array(name.utf8).withUnsafeBytes { EntryHash.name(rootInode, $0) }
        }
        #expect(Self.names[0] != Self.names[1] && hashes[0] == hashes[1])
    }

    /// The one that is known first: the other is an error, and nothing else suffers.
    @Test(arguments: ["", "/x"], [0, 1]) func ofTwoNamesWithOneNumberOneCanBeUsed(below: String, known: Int) throws {
        let world = World(Self.names.map { $0 + below } + ["and", "other"])
        let other = 1 - known
        #expect(try world.lookup(Self.names[known]).get().isDirectory == !below.isEmpty)
        #expect(world.lookup(Self.names[other]) == .failure(.ioError))
        let names = ["and", "other"] + Self.names
        for limit in [1, 2, 100] {
            #expect(try world.list(limit: limit).get().map(\.text) == names.sorted())
            // With attributes, which the kernel keeps by number.
            let usable = try world.list(plus: true, limit: limit).get().map(\.text)
            #expect(usable == names.filter { $0 != Self.names[other] }.sorted())
        }
        if !below.isEmpty { #expect(try world.walk(Self.names[known] + below).get().size == 1) }
        #expect(try world.lookup("other").get().size == 1)
    }
}
