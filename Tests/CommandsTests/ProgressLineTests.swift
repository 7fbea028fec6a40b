import Copy
import Testing

@testable import Commands

@Suite struct ProgressLineTests {
    private func counts(done: UInt64, of found: UInt64, isListed: Bool = true) -> CopyJob.Counts {
        var counts = CopyJob.Counts()
        (counts.files, counts.objectsFound, counts.isListed) = (3, 7, isListed)
        (counts.bytes, counts.bytesDone, counts.bytesFound) = (done, done, found)
        return counts
    }

    @Test func aBarIsAsFullAsTheCopy() {
        for (done, filled) in [(0, 0), (499, 11), (500, 12), (1000, 24), (1200, 24)] as [(UInt64, Int)] {
            let text = ProgressLine.text(counts(done: done, of: 1000), seconds: 1, isBar: true)
            #expect(
                text.hasPrefix("[" + String(repeating: "#", count: filled) + String(repeating: "-", count: 24 - filled))
            )
            #expect(text.contains("] \(min(done, 1000) / 10) %, 3 of 7 files"))
        }
    }

    @Test func withoutATerminalThereIsNone() {
        #expect(
            ProgressLine.text(counts(done: 500, of: 1000), seconds: 1, isBar: false).hasPrefix("50 %, 3 of 7 files"))
    }

    @Test func whatIsNotKnownIsNotShown() {
        for isListed in [false, true] {
            let text = ProgressLine.text(
                counts(done: 500, of: isListed ? 0 : 1000, isListed: isListed), seconds: 2, isBar: true)
            #expect(text.hasPrefix("3 files, ") && !text.contains("%"))
        }
    }
}
