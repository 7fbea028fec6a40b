import Curl

/// Dates as servers write them.
public enum Dates {
    /// "Wed, 21 Oct 2015 07:28:00 GMT", in seconds since 1970.
    public static func parseHTTP(_ text: UnsafeRawBufferPointer) -> Int64? {
        guard text.count == 29, text[3] == UInt8(ascii: ","), text.suffix(3).elementsEqual("GMT".utf8) else {
            return nil
        }
        let names = "JanFebMarAprMayJunJulAugSepOctNovDec"
        guard let month = (0..<12).first(where: { text[8..<11].elementsEqual(names.utf8.dropFirst($0 * 3).prefix(3)) }),
            let day = number(text, 5..<7), let year = number(text, 12..<16), let hour = number(text, 17..<19),
            let minute = number(text, 20..<22), let second = number(text, 23..<25)
        else { return nil }
        return CivilDate(year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second)
            .secondsSince1970
    }

    /// "2009-10-12T17:50:30.000Z", in seconds since 1970; fractions are dropped. A zone other than Z: "+01:00".
    public static func parseISO8601(_ text: UnsafeRawBufferPointer) -> Int64? {
        guard text.count >= 19, text[4] == 0x2D, text[7] == 0x2D, text[10] == UInt8(ascii: "T"), text[13] == 0x3A,
            text[16] == 0x3A, let year = number(text, 0..<4), let month = number(text, 5..<7),
            let day = number(text, 8..<10), let hour = number(text, 11..<13), let minute = number(text, 14..<16),
            let second = number(text, 17..<19)
        else { return nil }
        let date = CivilDate(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        guard let time = date.secondsSince1970 else { return nil }
        var index = 19
        if index < text.count, text[index] == UInt8(ascii: ".") {
            index += 1
            while index < text.count, (0x30...0x39).contains(text[index]) { index += 1 }
        }
        let zone = UnsafeRawBufferPointer(rebasing: text[index...])
        if zone.isEmpty || (zone.count == 1 && zone[0] == UInt8(ascii: "Z")) { return time }
        guard zone.count == 6, zone[3] == 0x3A, zone[0] == 0x2B || zone[0] == 0x2D, let hours = number(zone, 1..<3),
            let minutes = number(zone, 4..<6)
        else { return nil }
        let offset = Int64(hours * 3600 + minutes * 60)
        return zone[0] == 0x2B ? time - offset : time + offset
    }

    public static func parseISO8601(_ text: String) -> Int64? {
        Array(text.utf8).withUnsafeBytes { parseISO8601($0) }
    }

    /// A date and time of day in UTC.
    public static func civil(
        _ secondsSince1970: Int64
    ) -> (year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        let date = CivilDate(secondsSince1970: secondsSince1970)
        return (date.year, date.month, date.day, date.hour, date.minute, date.second)
    }

    private static func number(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int? {
        Decimal.parse(UnsafeRawBufferPointer(rebasing: text[range])).map(Int.init)
    }
}
