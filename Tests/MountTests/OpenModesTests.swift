import Testing

@testable import Mount

@Suite("Modes of open files")
struct OpenModesTests {
    @Test("all opens of an inode have the first one's mode, and its backing file is given up with the last")
    func agreement() {
        var modes = OpenModes()
        #expect(modes.mode(of: 5) == nil)
        #expect(modes.opened(5, offered: .passthrough(7)) == .passthrough(7))
        #expect(modes.opened(5, offered: .cached) == .passthrough(7))
        #expect(modes.opened(6, offered: .cached) == .cached)
        #expect(modes.opened(6, offered: .passthrough(8)) == .cached)
        #expect(modes.count == 2)
        #expect(modes.closed(5) == nil)
        #expect(modes.closed(5) == 7)
        #expect(modes.closed(5) == nil)
        #expect(modes.opened(5, offered: .cached) == .cached)
        #expect(modes.closed(6) == nil && modes.closed(6) == nil)
        #expect(modes.mode(of: 6) == nil)
    }
}
