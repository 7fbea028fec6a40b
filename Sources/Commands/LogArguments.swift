import ArgumentParser
import Logging
import Logs

struct LogLevel: ExpressibleByArgument {
    var level: Logger.Level
    init(level: Logger.Level) { self.level = level }
    init?(argument: String) {
        guard let level = Logger.Level(rawValue: argument) else { return nil }
        self.level = level
    }
    var defaultValueDescription: String { level.rawValue }
    static var allValueStrings: [String] { Logger.Level.allCases.map(\.rawValue) }
}

enum LogFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
    var format: LogOutput.Format { self == .json ? .json : .text }
}
