import ArgumentParser
import Controller
import Kubernetes

/// Changes of who may read a Dataset. Pure: from the grant as it is to the grant as it shall be.
enum Grants {
    static let nameLabel = "kubernetes.io/metadata.name"

    enum Change: Equatable {
        case add(namespace: String)
        case remove(namespace: String)
        /// Replaces what was there.
        case select(LabelSelector)
        case all
        case none
    }

    /// `owner`: the Dataset's own namespace, which keeps its right when others get one.
    static func apply(
        _ change: Change, to allowed: Dataset.AllowedNamespaces?, owner: String
    ) throws(Mistake) -> Dataset.AllowedNamespaces {
        let from = allowed?.from ?? "Same"
        switch change {
        case .all: return .init(from: "All")
        case .none: return .init(from: "Same")
        case .select(let selector): return .init(from: "Selector", selector: selector)
        case .add(let namespace):
            switch from {
            case "All": return .init(from: "All")
            case "Same": return namespace == owner ? .init(from: "Same") : named([owner, namespace])
            default: return named(try names(allowed, namespace) + [namespace])
            }
        case .remove(let namespace):
            switch from {
            case "All":
                throw Mistake("every namespace is granted; name those that stay: grant set --selector …, or grant none")
            case "Same":
                guard namespace != owner else {
                    throw Mistake("\(owner) is the Dataset's own namespace, which always reads it")
                }
                return .init(from: "Same")
            default:
                let rest = try names(allowed, namespace).filter { $0 != namespace }
                return Set(rest).isSubset(of: [owner]) ? .init(from: "Same") : named(rest)
            }
        }
    }

    /// The names of a selector that is a list of names.
    private static func names(
        _ allowed: Dataset.AllowedNamespaces?, _ namespace: String
    ) throws(Mistake) -> [String] {
        guard let selector = allowed?.selector, selector.matchLabels?.isEmpty != false,
            let only = selector.matchExpressions, only.count == 1, only[0].key == nameLabel, only[0].operator == "In"
        else {
            throw Mistake(
                "namespaces are granted by labels (\(allowed?.selector.map(text) ?? "none")), so none can be named beside "
                    + "them: label namespace \(namespace) accordingly, or replace the grant with grant set")
        }
        return only[0].values ?? []
    }

    private static func named(_ names: [String]) -> Dataset.AllowedNamespaces {
        .init(
            from: "Selector",
            selector: LabelSelector(
                matchExpressions: [.init(key: nameLabel, operator: "In", values: Set(names).sorted())]))
    }

    /// `a=b,c=d` as kubectl's -l.
    static func selector(_ text: String) throws(Mistake) -> LabelSelector {
        var labels: [String: String] = [:]
        for part in text.split(separator: ",") {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard sides.count == 2, !sides[0].isEmpty else {
                throw Mistake("--selector \"\(text)\" must be like team=a,course=b")
            }
            labels[sides[0]] = sides[1]
        }
        guard !labels.isEmpty else {
            throw Mistake("--selector is empty, which would grant every namespace; use grant all for that")
        }
        return LabelSelector(matchLabels: labels)
    }

    static func text(_ selector: LabelSelector) -> String {
        var parts = (selector.matchLabels ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        parts += (selector.matchExpressions ?? []).map {
            let values = $0.values.map { " (\($0.joined(separator: ", ")))" } ?? ""
            return "\($0.key) \($0.operator)\(values)"
        }
        return parts.isEmpty ? "everything" : parts.joined(separator: ", ")
    }

    static func summary(_ dataset: Dataset) -> String {
        switch dataset.spec.allowedNamespaces?.from ?? "Same" {
        case "All": "all namespaces"
        case "Selector": "namespaces of \(dataset.spec.allowedNamespaces?.selector.map(text) ?? "no selector")"
        default: "its own namespace"
        }
    }

    static func json(_ allowed: Dataset.AllowedNamespaces) -> JSON {
        var json: JSON = ["from": member(allowed.from), "selector": .null]
        guard let selector = allowed.selector else { return json }
        json["selector"] = [
            "matchLabels": selector.matchLabels.map { JSON($0) } ?? .null,
            "matchExpressions": selector.matchExpressions.map { expressions in
                .array(
                    expressions.map {
                        [
                            "key": .string($0.key), "operator": .string($0.operator),
                            "values": $0.values.map { .array($0.map { .string($0) }) } ?? .null,
                        ]
                    })
            } ?? .null,
        ]
        return json
    }
}

extension Client {
    /// Answers the Dataset as it is then. A change by somebody else meanwhile isn't overwritten.
    func grant(_ change: Grants.Change, _ key: ObjectKey) async throws -> Dataset {
        let dataset = try await get(Dataset.self, key.name, namespace: key.namespace)
        let wanted = try Grants.apply(change, to: dataset.spec.allowedNamespaces, owner: key.namespace)
        if wanted == (dataset.spec.allowedNamespaces ?? .init(from: "Same")) { return dataset }
        var patch: JSON = ["spec": ["allowedNamespaces": Grants.json(wanted)]]
        patch.set("metadata", "resourceVersion", to: dataset.metadata.resourceVersion.map { .string($0) })
        return try await self.patch(Dataset.self, key.name, namespace: key.namespace, merge: patch)
    }
}

struct GrantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grant", abstract: "Says who may read a Dataset.",
        discussion: """
            kubectl millrace grant add iris team-a        one more namespace
            kubectl millrace grant remove iris team-a     one less
            kubectl millrace grant set iris -l team=a     those of this label, now and later
            kubectl millrace grant all iris               every namespace
            kubectl millrace grant none iris              the Dataset's own namespace only
            """)
    enum Verb: String, ExpressibleByArgument, CaseIterable { case add, remove, set, all, none }

    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Argument(help: "add, remove, set, all or none.") var verb: Verb
    @Argument(help: "The Dataset: its name, or namespace/name.") var dataset: String
    @Argument(help: "A namespace, for add and remove.") var consumer: String?
    @Option(name: [.customShort("l"), .long], help: "Labels of namespaces, for set: team=a,course=b.")
    var selector: String?

    func change() throws(Mistake) -> Grants.Change {
        switch (verb, consumer, selector) {
        case (.add, let name?, nil): return .add(namespace: name)
        case (.remove, let name?, nil): return .remove(namespace: name)
        case (.set, nil, let text?): return .select(try Grants.selector(text))
        case (.all, nil, nil): return .all
        case (.none, nil, nil): return .none
        case (.add, _, _), (.remove, _, _): throw Mistake("grant \(verb.rawValue) takes a Dataset and a namespace")
        case (.set, _, _): throw Mistake("grant set takes a Dataset and --selector")
        default: throw Mistake("grant \(verb.rawValue) takes a Dataset and nothing else")
        }
    }

    func run() async throws {
        let session = try place.session()
        let key = try session.key(dataset)
        let changed = try await session.client.grant(try change(), key)
        if output.format == .json {
            print(Grants.json(changed.spec.allowedNamespaces ?? .init(from: "Same")))
        } else {
            print("Dataset \(key) is granted to \(Grants.summary(changed)).")
        }
    }
}
