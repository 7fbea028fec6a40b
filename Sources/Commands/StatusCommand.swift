import ArgumentParser
import Fuse
import Glibc
import Mount

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the mounts of this machine.",
        discussion: "STATE is serving, or dead where the process that served the mount is gone.")

    @Flag(help: "One JSON object a line.")
    var json = false

    func run() throws {
        let mounts = MountTable.current().filter(\.isMillrace)
        if mounts.isEmpty && !json {
            print("No Millrace mounts. Make one: millrace mount s3://BUCKET[/PREFIX] DIR")
            return
        }
        var rows = [["DIRECTORY", "SOURCE", "STATE", "PID", "SINCE", "METRICS"]]
        for mount in mounts {
            let found = MountRecord.read(mount.mountPoint)
            let state = found.map { $0.isAlive ? "serving" : "dead" } ?? "serving"
            rows.append([
                oneLine(mount.mountPoint), oneLine(found?.record.source ?? mount.source), state,
                found.map { String($0.record.pid) } ?? "-",
                found.map { ListCommand.time($0.record.started) } ?? "-",
                found.map(\.record.metrics).flatMap { $0.isEmpty ? nil : $0 } ?? "-",
            ])
        }
        if json {
            for row in rows.dropFirst() {
                let fields = zip(rows[0], row).map { "\"\($0.lowercased())\":\"\(escaped($1))\"" }
                print("{\(fields.joined(separator: ","))}")
            }
            return
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            var line = ""
            for (column, text) in row.enumerated() {
                line += text + String(repeating: " ", count: widths[column] - text.count + 2)
            }
            while line.hasSuffix(" ") { line.removeLast() }
            print(line)
        }
    }

    private func escaped(_ text: String) -> String {
        text.map { $0 == "\"" ? "\\\"" : $0 == "\\" ? "\\\\" : String($0) }.joined()
    }
}
