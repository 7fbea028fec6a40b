import ArgumentParser
import Controller
import Kubernetes

/// What kubectl asks of `kubectl_complete-millrace`, in the words of Cobra's completions: one candidate a line, and
/// last a colon with what the shell shall do.
struct CompleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "__complete", shouldDisplay: false)
    @Argument(parsing: .captureForPassthrough) var words: [String] = []

    /// Cobra's ShellCompDirectiveNoFileComp.
    static let noFiles = ":4"

    static let described: [(name: String, abstract: String)] = Millrace.configuration.subcommands.compactMap {
        command in
        let configuration = command.configuration
        guard configuration.shouldDisplay, let name = configuration.commandName else { return nil }
        return (name, configuration.abstract)
    }

    enum Wanted: Equatable {
        case command(String)
        case dataset(String)
        case claim(String)
        case namespace(String)
        case choice([String], String)
        case nothing
    }

    /// What the last word may be. `words` are those after `millrace`; the last is the one under the cursor, "" if new.
    static func wanted(_ words: [String]) -> (wanted: Wanted, namespace: String?) {
        let current = words.last ?? ""
        var before = Array(words.dropLast())
        var namespace: String?
        if let last = before.last, ["-n", "--namespace"].contains(last) { return (.namespace(current), nil) }
        if let last = before.last, ["-o", "--output"].contains(last) {
            return (.choice(Format.allCases.map(\.rawValue), current), nil)
        }
        while let i = before.firstIndex(where: { $0.hasPrefix("-") }) {
            if ["-n", "--namespace"].contains(before[i]), i + 1 < before.count { namespace = before[i + 1] }
            let takesValue = !["-A", "--all-namespaces", "--keep"].contains(before[i]) && !before[i].contains("=")
            before.removeSubrange(i..<min(before.count, i + (takesValue ? 2 : 1)))
        }
        if current.hasPrefix("-") { return (.nothing, namespace) }
        switch (before.first, before.count) {
        case (nil, _): return (.command(current), namespace)
        case ("describe"?, 1), ("who"?, 1), ("warm"?, 1), ("grant"?, 2): return (.dataset(current), namespace)
        case ("grant"?, 1): return (.choice(GrantCommand.Verb.allCases.map(\.rawValue), current), namespace)
        case ("grant"?, 3) where ["add", "remove"].contains(before[1]): return (.namespace(current), namespace)
        case ("explain"?, 1): return (.claim(current), namespace)
        default: return (.nothing, namespace)
        }
    }

    /// Candidates, without those that don't begin with what was typed.
    static func candidates(_ wanted: Wanted, _ client: Client?, namespace: String) async -> [String] {
        switch wanted {
        case .nothing: return []
        case .choice(let all, let typed): return all.filter { $0.hasPrefix(typed) }
        case .command(let typed):
            return described.filter { $0.name.hasPrefix(typed) }.map { "\($0.name)\t\($0.abstract)" }
        case .dataset(let typed): return await names(Dataset.self, typed, client, namespace)
        case .claim(let typed): return await names(PersistentVolumeClaim.self, typed, client, namespace)
        case .namespace(let typed): return await names(Namespace.self, typed, client, nil)
        }
    }

    private static func names<T: KubernetesObject>(
        _ type: T.Type, _ typed: String, _ client: Client?, _ namespace: String?
    ) async -> [String] {
        guard let client else { return [] }
        do throws(APIError) {
            let all = try await client.list(T.self, namespace: namespace).items
            return all.map { $0.key.name }.filter { $0.hasPrefix(typed) }.sorted()
        } catch { return [] }
    }

    func run() async throws {
        let (wanted, namespace) = Self.wanted(words)
        // Without a cluster there are still the commands' names.
        let session = try? Place.parse(namespace.map { ["--namespace=\($0)"] } ?? []).session()
        for candidate in await Self.candidates(wanted, session?.client, namespace: session?.namespace ?? "default") {
            print(candidate)
        }
        print(Self.noFiles)
    }
}
