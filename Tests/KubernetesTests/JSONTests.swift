import Kubernetes
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        "null", "[]", "{}", "[1,-2,3.5,true,false,null,\"\"]", #"{"a":{"b":[{"c":"é\n\"\\"}]}}"#, "-0.25", "1e300",
    ]) func roundTrips(_ text: String) throws {
        let value = try JSON(parsing: text)
        #expect(try JSON(parsing: value.description) == value)
    }

    @Test func escapesAreUnderstood() throws {
        #expect(try JSON(parsing: #""\u0041\ud83d\ude00\t\/""#) == .string("A😀\t/"))
        #expect(JSON.string("a\u{1}\"").description == #""a\u0001\"""#)
    }

    @Test(arguments: ["", "{", "[1,]", "{\"a\" 1}", "tru", "1 2", "\"a", "\"\\x\"", "+1", "{a:1}", "\"\u{1}\""])
    func refusesWhatIsNot(_ text: String) {
        #expect(throws: JSONError.self) { try JSON(parsing: text) }
    }

    @Test func deepNestingIsRefusedNotCrashed() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: JSONError.self) { try JSON(parsing: deep) }
    }

    @Test func pathsAreSetAndRemoved() {
        var value: JSON = [:]
        value.set("a", "b", to: 1)
        value.set("a", "c", to: 2)
        value.set("a", "b", to: nil)
        value.set("x", "y", to: nil)
        #expect(value == ["a": ["c": 2]])
    }
}
