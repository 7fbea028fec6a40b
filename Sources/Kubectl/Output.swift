import ArgumentParser
import Kubernetes

/// How results are shown.
enum Format: String, ExpressibleByArgument, CaseIterable {
    case table, wide, json
}

struct OutputOptions: ParsableArguments {
    @Option(name: [.customShort("o"), .customLong("output")], help: "table, wide or json.")
    var format = Format.table
}

/// Rows with a header, each column as wide as its widest cell.
struct Table: Equatable {
    var header: [String]
    var rows: [[String]]

    var text: String {
        let all = [header] + rows
        var widths = [Int](repeating: 0, count: header.count)
        for row in all { for (i, cell) in row.enumerated() { widths[i] = max(widths[i], cell.count) } }
        return all.map { row in
            var line = ""
            for (i, cell) in row.enumerated() {
                line += cell
                if i + 1 < row.count { line += String(repeating: " ", count: widths[i] - cell.count + 3) }
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}

/// A row that can be shown both ways.
protocol Row: Sendable {
    static var header: [String] { get }
    static var wideHeader: [String] { get }
    var cells: [String] { get }
    var wideCells: [String] { get }
    var json: JSON { get }
}

extension Row {
    static var wideHeader: [String] { [] }
    var wideCells: [String] { [] }
}

/// The text of rows; where there are none, what to say instead.
func rendered<R: Row>(_ rows: [R], as format: Format, none: String) -> String {
    switch format {
    case .json: JSON.array(rows.map(\.json)).description
    case .table where rows.isEmpty, .wide where rows.isEmpty: none
    case .table: Table(header: R.header, rows: rows.map(\.cells)).text
    case .wide: Table(header: R.header + R.wideHeader, rows: rows.map { $0.cells + $0.wideCells }).text
    }
}

enum Text {
    /// 1536 as "1.5Ki".
    static func bytes(_ count: Int?) -> String {
        guard let count else { return "-" }
        var value = Double(count)
        for unit in ["", "Ki", "Mi", "Gi", "Ti", "Pi"] {
            if value < 1024 || unit == "Pi" {
                if unit.isEmpty { return "\(count)" }
                let tenths = Int((value * 10).rounded())
                return value >= 100 || tenths % 10 == 0
                    ? "\(Int(value.rounded()))\(unit)" : "\(tenths / 10).\(tenths % 10)\(unit)"
            }
            value /= 1024
        }
        return "\(count)"
    }

    static func count(_ count: Int?) -> String { count.map(String.init) ?? "-" }

    static func percent(_ part: Double, of whole: Double) -> String {
        guard whole > 0 else { return "-" }
        return "\(Int((part / whole * 100).rounded()))%"
    }
}

/// One JSON member that may be missing.
func member(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
func member(_ number: Int?) -> JSON { number.map { .integer($0) } ?? .null }
