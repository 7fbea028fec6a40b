/// Times in cron's words, as CronJobs have them: minute, hour, day of month, month, day of week, in UTC.
///
/// A field is `*` or a list of numbers, ranges and steps (`*/15`, `1-5`, `0,30`); months and days of the week also by
/// their first three letters. Where both days are restricted, either is enough. `@hourly`, `@daily` (`@midnight`),
/// `@weekly`, `@monthly` and `@yearly` (`@annually`) stand for the obvious.
public struct CronSchedule: Sendable, Equatable {
    private var minutes: Set<Int>
    private var hours: Set<Int>
    private var days: Set<Int>
    private var months: Set<Int>
    /// 0 is Sunday.
    private var weekdays: Set<Int>
    private var isAnyDay: Bool
    private var isAnyWeekday: Bool

    public init(_ text: String) throws(CronError) {
        let text = try Self.spelledOut(text)
        let fields = text.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count == 5 else {
            throw CronError("\"\(text)\" has \(fields.count) fields; give five: minute hour day month weekday")
        }
        minutes = try Self.values(fields[0], "minute", 0...59)
        hours = try Self.values(fields[1], "hour", 0...23)
        days = try Self.values(fields[2], "day of month", 1...31)
        months = try Self.values(fields[3], "month", 1...12, Self.monthNames, first: 1)
        weekdays = try Self.values(fields[4], "day of week", 0...7, Self.dayNames, first: 0)
        if weekdays.remove(7) != nil { weekdays.insert(0) }
        isAnyDay = fields[2].hasPrefix("*")
        isAnyWeekday = fields[4].hasPrefix("*")
    }

    /// The first time after `seconds` since 1970; nil where none comes in eight years (30 February).
    public func next(after seconds: Int) -> Int? {
        let start = seconds / 60 * 60 + 60
        var day = start / 86_400
        var minuteOfDay = start % 86_400 / 60
        for _ in 0..<(8 * 366) {
            if matches(day: day) {
                for hour in (minuteOfDay / 60)..<24 where hours.contains(hour) {
                    let first = hour == minuteOfDay / 60 ? minuteOfDay % 60 : 0
                    for minute in first..<60 where minutes.contains(minute) {
                        return day * 86_400 + hour * 3600 + minute * 60
                    }
                }
            }
            day += 1
            minuteOfDay = 0
        }
        return nil
    }

    private func matches(day: Int) -> Bool {
        let (month, dayOfMonth) = Self.date(day)
        guard months.contains(month) else { return false }
        let isDay = days.contains(dayOfMonth)
        let isWeekday = weekdays.contains((day + 4) % 7)  // 1 January 1970 was a Thursday.
        return isAnyDay || isAnyWeekday ? isDay && isWeekday : isDay || isWeekday
    }

    /// Month and day of month of a day since 1970 (Howard Hinnant's `civil_from_days`).
    private static func date(_ day: Int) -> (month: Int, day: Int) {
        let z = day + 719_468
        let dayOfEra = z % 146_097
        let year = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * year + year / 4 - year / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        return (shifted < 10 ? shifted + 3 : shifted - 9, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }

    private static func spelledOut(_ text: String) throws(CronError) -> String {
        guard text.hasPrefix("@") else { return text }
        switch text {
        case "@hourly": return "0 * * * *"
        case "@daily", "@midnight": return "0 0 * * *"
        case "@weekly": return "0 0 * * 0"
        case "@monthly": return "0 0 1 * *"
        case "@yearly", "@annually": return "0 0 1 1 *"
        default:
            throw CronError("\"\(text)\" isn't known; use @hourly, @daily, @weekly, @monthly, @yearly or five fields")
        }
    }

    private static let monthNames = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    private static let dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

    private static func values(
        _ field: Substring, _ what: String, _ range: ClosedRange<Int>, _ names: [String] = [], first: Int = 0
    ) throws(CronError) -> Set<Int> {
        func wrong(_ why: String) -> CronError {
            CronError("the \(what) \"\(field)\" \(why); give \(range.lowerBound) to \(range.upperBound)")
        }
        func number(_ text: Substring) throws(CronError) -> Int {
            let named = names.firstIndex(of: text.lowercased()).map { $0 + first }
            guard let value = named ?? (text.allSatisfy(\.isNumber) ? Int(text) : nil) else {
                throw wrong("isn't understood")
            }
            guard range.contains(value) else { throw wrong("is out of range") }
            return value
        }
        var values: Set<Int> = []
        for part in field.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            let step = halves.count == 2 ? Int(halves[1]) ?? 0 : 1
            guard step > 0 else { throw wrong("has a step that is no positive number") }
            var bounds = range
            if halves[0] != "*" {
                let ends = halves[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
                let low = try number(ends[0])
                let high = ends.count == 2 ? try number(ends[1]) : halves.count == 2 ? range.upperBound : low
                guard low <= high else { throw wrong("ends before it begins") }
                bounds = low...high
            }
            values.formUnion(stride(from: bounds.lowerBound, through: bounds.upperBound, by: step))
        }
        return values
    }
}

/// What is wrong with a schedule, and what would be right.
public struct CronError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String
    init(_ description: String) { self.description = description }
}
