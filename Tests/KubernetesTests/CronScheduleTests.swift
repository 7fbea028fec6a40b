import Testing

@testable import Kubernetes

@Suite struct CronScheduleTests {
    /// Saturday, 21 November 2026, 16:05:30.
    private let now = 1_795_277_130

    @Test(arguments: [
        ("* * * * *", "2026-11-21T16:06:00"),
        ("0 * * * *", "2026-11-21T17:00:00"),
        ("*/15 * * * *", "2026-11-21T16:15:00"),
        ("5 16 * * *", "2026-11-22T16:05:00"),
        ("30 2 1 * *", "2026-12-01T02:30:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 9 * * mon-fri", "2026-11-23T09:00:00"),
        ("0 9 * * 7", "2026-11-22T09:00:00"),
        // Either day is enough where both are given.
        ("0 0 25 * sun", "2026-11-22T00:00:00"),
        ("0 0 1 jan,jul *", "2027-01-01T00:00:00"),
        ("10-20/5 8-9 * * *", "2026-11-22T08:10:00"),
        ("@daily", "2026-11-22T00:00:00"),
        ("@weekly", "2026-11-22T00:00:00"),
    ])
    func theNextTimeIsFound(schedule: String, expected: String) throws {
        let next = try #require(try CronSchedule(schedule).next(after: now))
        #expect(Timestamp.at(next) == "\(expected)Z")
    }

    @Test func eachTimeFollowsTheOneBefore() throws {
        let schedule = try CronSchedule("0,30 */6 * * *")
        var times: [String] = []
        var time = now
        for _ in 0..<5 {
            time = try #require(schedule.next(after: time))
            times.append(String(Timestamp.at(time).suffix(9).prefix(5)))
        }
        #expect(times == ["18:00", "18:30", "00:00", "00:30", "06:00"])
    }

    @Test func aDayThatNeverComesHasNoTime() throws {
        #expect(try CronSchedule("0 0 30 2 *").next(after: now) == nil)
    }

    @Test(arguments: [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "x * * * *",
        "5-1 * * * *", "*/0 * * * *", "*/x * * * *", "1,,2 * * * *", "@fortnightly", "-1 * * * *",
    ])
    func whatIsWrongIsNamed(schedule: String) {
        let error = #expect(throws: CronError.self) { try CronSchedule(schedule) }
        #expect(error?.description.contains("give") == true || error?.description.contains("use") == true)
    }
}
