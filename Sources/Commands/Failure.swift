/// Why a command could not do what was asked: what, why and what to do, in two lines. Exit status 1.
struct Failure: Error, CustomStringConvertible {
    var what: String
    var why: String
    var fix: String

    init(_ what: String, because why: String, fix: String) {
        self.what = what
        self.why = why
        self.fix = fix
    }

    var description: String { "millrace: \(oneLine(what)): \(oneLine(why))\n  fix: \(oneLine(fix))" }
}

/// Text that came from outside (a key, a server's message) must not break or forge lines.
func oneLine(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? " " : $0 }))
}
