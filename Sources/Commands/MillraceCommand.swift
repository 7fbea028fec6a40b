import ArgumentParser
import Glibc
import Logs
import S3

/// `millrace`, the program: its commands, and what is common to them.
public struct MillraceCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "millrace",
        abstract: "Mount S3 buckets and prefixes as read-only file systems.",
        discussion: """
            Options may also come from the environment (MILLRACE_CACHE_DIR for --cache-dir) and from a configuration \
            file; AWS_* variables and profiles are honoured. Start with: millrace doctor s3://BUCKET
            """,
        version: "millrace 0.1.0",
        subcommands: [
            MountCommand.self, UnmountCommand.self, StatusCommand.self, DoctorCommand.self, ListCommand.self,
            CopyCommand.self, SnapshotCommand.self, WarmCommand.self,
            EngineCommand.self, KeeperCommand.self,
        ])

    public init() {}

    /// Runs the program with the process's arguments and ends it: 0 done, 1 could not be done, 2 wrong usage.
    public static func start() -> Never {
        signal(SIGPIPE, SIG_IGN)
        do {
            run(try layered(try typedArguments()))
        } catch {
            end(error)
        }
    }

    /// What was typed, as arguments of `millrace` also where the program was called as `mount.millrace`.
    static func typedArguments() throws -> [String] {
        let name = CommandLine.arguments.first?.split(separator: "/").last ?? "millrace"
        let arguments = Array(CommandLine.arguments.dropFirst())
        return name.hasPrefix("mount.") ? try MountHelper.arguments(arguments) : arguments
    }

    private static func run(_ arguments: [String]) -> Never {
        let command: any ParsableCommand
        do {
            command = try parseAsRoot(arguments)
        } catch {
            end(error, command: arguments.first)
        }
        do {
            var command = command
            try command.run()
            leave(0)
        } catch {
            end(error)
        }
    }

    private static func end(_ error: any Error, command: String? = nil) -> Never {
        switch error {
        case let error as ChildFailed: leave(error.status)
        case let error as ExitCode: leave(error.rawValue)
        case let error as Failure:
            Output.error("\(error)\n")
            leave(1)
        default: break
        }
        if exitCode(for: error) == .success {  // --help, --version
            try? Output.out(fullMessage(for: error) + "\n")
            leave(0)
        }
        let isCommand = configuration.subcommands.contains { $0.configuration.commandName == command }
        let help = isCommand ? "millrace \(command ?? "") --help" : "millrace --help"
        Output.error("\(Failure("usage", because: message(for: error), fix: "see \(help)"))\n")
        leave(2)
    }

    /// Ends the process without running C's exit handlers: OpenSSL's would free tables that a transfer thread may still
    /// be using.
    private static func leave(_ status: Int32) -> Never {
        fflush(nil)
        _exit(status)
    }

    /// The arguments with what the environment and the configuration file add.
    private static func layered(_ arguments: [String]) throws -> [String] {
        guard let command = arguments.first, ["mount", "ls", "cp", "doctor", "snapshot"].contains(command) else {
            return arguments
        }
        let typed = Array(arguments.dropFirst())
        var layers = Layers(environment: Environment.process.values, file: [:])
        layers.file = try ConfigurationFile.read(typed: value(of: "config", in: typed), environment: layers.environment)
        return [command] + (try layers.applied(to: typed, command: command))
    }

    private static func value(of option: String, in arguments: [String]) -> String? {
        for (i, argument) in arguments.enumerated() {
            if argument.hasPrefix("--\(option)=") { return String(argument.dropFirst(option.count + 3)) }
            if argument == "--\(option)" { return i + 1 < arguments.count ? arguments[i + 1] : nil }
        }
        return nil
    }
}
