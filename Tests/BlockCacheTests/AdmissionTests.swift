import S3
import Testing
import Threads

@testable import BlockCache

@Suite struct AdmissionTests {
    /// Every way to divide a small memory, every request: the rules hold for each.
    @Test func admitsByPriorityForEveryDivisionOfTheMemory() {
        let capacity = 12
        for free in 0...capacity {
            for consumed in 0...capacity - free {
                for used in 0...capacity - free - consumed {
                    for ahead in 0...capacity - free - consumed - used {
                        for age: UInt32 in [0, Admission.patienceSeconds + 1] {
                            var admission = Admission(capacity: capacity)
                            admission.addAhead(ahead)
                            let supply = Admission.Supply(
                                free: free, consumed: consumed, used: used, ahead: ahead, aheadAgeSeconds: age)
                            check(admission, supply)
                        }
                    }
                }
            }
        }
    }

    private func check(_ admission: Admission, _ supply: Admission.Supply) {
        let idle = supply.free + supply.consumed + supply.used
        for count in 1...admission.capacity {
            let demand = admission.admits(count, .demand, supply)
            let readAhead = admission.admits(count, .readAhead, supply)
            let warmUp = admission.admits(count, .warmUp, supply)
            #expect(demand == (count <= idle + supply.ahead))
            // What a lower priority gets, a higher one gets too.
            #expect(!readAhead || demand)
            #expect(!warmUp || readAhead)
            if readAhead, supply.aheadAgeSeconds <= Admission.patienceSeconds {
                #expect(count <= idle, "unread read-ahead gives way to newer only when it is old")
                #expect(admission.aheadCount + count <= admission.aheadLimit)
            }
            if warmUp { #expect(count <= supply.free + supply.consumed) }
        }
        switch admission.victim(supply) {
        case nil: #expect(supply.free > 0)
        case .consumed:
            #expect(supply.consumed > 0)
            #expect(supply.free == 0 || supply.consumed > admission.capacity / 4)
        case .used: #expect(supply.free + supply.consumed == 0 && supply.used > 0)
        case .ahead: #expect(idle == 0)
        case .held: Issue.record("a held slot can't be evicted")
        }
    }

    @Test func aQuarterIsLeftForThoseWhoWait() {
        #expect(Admission(capacity: 2048).aheadLimit == 1536)
        #expect(Admission(capacity: 1).aheadLimit == 0)
    }

    @Test func readersWhoAreActiveShareAlike() {
        let share = FairShare(totalBytes: 96 * mib)
        var streams = Array(repeating: FairShare.Stream(), count: 8)
        let start = Instant(nanoseconds: 5_000_000_000)
        for i in streams.indices { _ = share.bytes(for: &streams[i], now: start) }
        #expect(share.bytes(for: &streams[0], now: start) == 12 * mib)
        // In the next second only two go on; the others still count, in the one after they don't.
        let next = start.advanced(byMs: 1000)
        _ = share.bytes(for: &streams[0], now: next)
        #expect(share.bytes(for: &streams[1], now: next) == 12 * mib)
        let later = start.advanced(byMs: 2000)
        _ = share.bytes(for: &streams[0], now: later)
        #expect(share.bytes(for: &streams[1], now: later) == 48 * mib)
    }
}
