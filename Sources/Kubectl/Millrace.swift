import ArgumentParser

/// `kubectl millrace`.
public struct Millrace: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "kubectl-millrace", abstract: "Datasets of a cluster: what there is, who uses it, and why not.",
        version: "0.1.0",
        subcommands: [
            ListCommand.self, DescribeCommand.self, WhoCommand.self, WarmCommand.self, GrantCommand.self,
            ExplainCommand.self, ImportCommand.self, TopCommand.self, CompleteCommand.self,
        ])

    public init() {}

    /// Runs the command that the process was started with, and ends it.
    public static func start() async { await main(nil) }
}
