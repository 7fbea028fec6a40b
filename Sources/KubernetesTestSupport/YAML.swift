import Kubernetes
import Yams

extension JSON {
    /// One document of YAML, as the chart's files are: throws where it is none.
    public init(yaml text: String) throws {
        guard let node = try compose(yaml: text) else { throw NoDocument() }
        self.init(node)
    }

    private struct NoDocument: Error, CustomStringConvertible { var description: String { "the YAML is empty" } }

    private init(_ node: Node) {
        switch node {
        case .mapping(let mapping):
            self = .object(Dictionary(mapping.map { ($0.key.string ?? "", JSON($0.value)) }) { $1 })
        case .sequence(let sequence): self = .array(sequence.map { JSON($0) })
        default:
            if node.tag == Tag(.bool), let value = node.bool {
                self = .bool(value)
            } else if node.tag == Tag(.int), let value = node.int {
                self = .integer(value)
            } else {
                self = .string(node.string ?? "")
            }
        }
    }
}
