/// A moment as x-amz-date has it: "20130524T000000Z".
struct AmzDate {
    let text: String
    /// "20130524"
    var day: String { String(text.prefix(8)) }

    /// Seconds since 1970.
    init(_ time: Int64) {
        let date = CivilDate(secondsSince1970: time)
        func padded(_ value: Int, _ width: Int = 2) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        text =
            padded(date.year, 4) + padded(date.month) + padded(date.day) + "T" + padded(date.hour) + padded(date.minute)
            + padded(date.second) + "Z"
    }
}

/// A date and time of day in UTC.
struct CivilDate: Equatable {
    var year: Int
    var month: Int
    var day: Int
    var hour = 0
    var minute = 0
    var second = 0

    init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    // Days are counted in eras of 400 years from 1 March, so that leap days come last.
    // https://howardhinnant.github.io/date_algorithms.html
    init(secondsSince1970 time: Int64) {
        let time = Int(time)
        let days = time >= 0 ? time / 86400 : -((86399 - time) / 86400)
        let seconds = time - days * 86400
        let shifted = days + 719468
        let era = (shifted >= 0 ? shifted : shifted - 146096) / 146097
        let dayOfEra = shifted - era * 146097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        hour = seconds / 3600
        minute = seconds / 60 % 60
        second = seconds % 60
    }

    /// Nil where a part is out of its range.
    var secondsSince1970: Int64? {
        guard (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour), (0...59).contains(minute),
            (0...60).contains(second), (0...9999).contains(year)
        else { return nil }
        let year = month <= 2 ? year - 1 : year
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146097 + dayOfEra - 719468
        return Int64(days * 86400 + hour * 3600 + minute * 60 + second)
    }
}
