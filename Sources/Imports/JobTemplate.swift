import Kubernetes

/// Makes the Job that fills a claim by `millrace cp`.
public struct JobTemplate: Sendable {
    /// What the chart says of every Job.
    public struct Settings: Sendable {
        public var image: String
        public var imagePullPolicy: String?
        public var imagePullSecrets: [String] = []
        /// CIDRs that URLs may lead to though they are this machine's or its link's.
        public var allowedAddresses: [String] = []
        public var progressPort = 8090
        /// How long a finished Job stays.
        public var keepSeconds = 86_400
        public init(image: String) { self.image = image }
    }

    public var settings: Settings
    public init(_ settings: Settings) { self.settings = settings }

    private static let keys = "/run/millrace/keys"
    private static let authorities = "/run/millrace/authorities"
    private static let headers = "/run/millrace/headers"
    private static let checksums = "/run/millrace/checksums"
    private static let data = "/data"

    /// - Parameters:
    ///   - uid: of the import, or of the claim that is populated; a label, by which the pods are found.
    ///   - node: where the pod must run, as the claim's node was chosen already.
    func job(
        _ name: String, for item: DatasetImport, filling claim: String, owner: OwnerReference, uid: String,
        node: String? = nil
    ) -> Job {
        let labels = [
            Labels.managedBy: Labels.controller, ImportNames.component: ImportNames.importComponent,
            ImportNames.uidLabel: uid,
        ]
        var template: JSON = ["metadata": ["labels": JSON(labels)]]
        template["spec"] = pod(item, claim, node)
        var spec: JSON = [
            "backoffLimit": .integer(item.spec.retries ?? 6), "completions": 1, "parallelism": 1,
            "ttlSecondsAfterFinished": .integer(settings.keepSeconds), "template": template,
            // A wrong checksum or a wrong command line stays wrong; a node that is drained is nobody's fault.
            "podFailurePolicy": [
                "rules": [
                    [
                        "action": "FailJob",
                        "onExitCodes": ["containerName": "copy", "operator": "In", "values": [2, 3]],
                    ],
                    ["action": "Ignore", "onPodConditions": [["type": "DisruptionTarget", "status": "True"]]],
                ]
            ],
        ]
        spec["activeDeadlineSeconds"] = item.spec.activeDeadlineSeconds.map { .integer($0) }
        return Job(
            metadata: ObjectMeta(
                name: name, namespace: item.metadata.namespace, labels: labels, ownerReferences: [owner]),
            spec: spec)
    }

    private func pod(_ item: DatasetImport, _ claim: String, _ node: String?) -> JSON {
        var mounts: [JSON] = [["name": "data", "mountPath": .string(Self.data)]]
        var volumes: [JSON] = [["name": "data", "persistentVolumeClaim": ["claimName": .string(claim)]]]
        func add(_ name: String, _ path: String, _ source: JSON?) {
            guard let source else { return }
            mounts.append(["name": .string(name), "mountPath": .string(path), "readOnly": true])
            volumes.append(JSON.object(["name": .string(name)]).merging(source))
        }
        func secret(_ name: String?) -> JSON? { name.map { ["secret": ["secretName": .string($0)]] } }
        func config(_ name: String?) -> JSON? { name.map { ["configMap": ["name": .string($0)]] } }
        add("keys", Self.keys, secret(item.spec.secretRef?.name))
        add("headers", Self.headers, secret(item.spec.extraHeadersSecret?.name))
        add("authorities", Self.authorities, config(item.spec.certConfigMap?.name))
        add("checksums", Self.checksums, config(item.spec.checksumsConfigMap?.name))
        var container: JSON = [
            "name": "copy", "image": .string(settings.image), "command": ["millrace", "cp"],
            "args": .array(arguments(item).map { .string($0) }), "env": .array(environment(item)),
            "ports": [["name": "progress", "containerPort": .integer(settings.progressPort)]],
            "volumeMounts": .array(mounts), "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": [
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": ["drop": ["ALL"]],
            ],
        ]
        container["imagePullPolicy"] = settings.imagePullPolicy.map { .string($0) }
        container["resources"] = item.spec.resources
        var spec: JSON = [
            "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 10, "containers": [container], "volumes": .array(volumes),
            "securityContext": item.spec.podSecurityContext ?? [
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": ["type": "RuntimeDefault"],
            ],
        ]
        if !settings.imagePullSecrets.isEmpty {
            spec["imagePullSecrets"] = .array(settings.imagePullSecrets.map { ["name": .string($0)] })
        }
        spec["nodeSelector"] = item.spec.nodeSelector.map { JSON($0) }
        spec["tolerations"] = item.spec.tolerations
        spec["affinity"] = node.map(Self.affinity) ?? item.spec.affinity
        return spec
    }

    private static func affinity(_ node: String) -> JSON {
        let field: JSON = ["key": "metadata.name", "operator": "In", "values": [.string(node)]]
        return [
            "nodeAffinity": [
                "requiredDuringSchedulingIgnoredDuringExecution": ["nodeSelectorTerms": [["matchFields": [field]]]]
            ]
        ]
    }

    private func arguments(_ item: DatasetImport) -> [String] {
        let spec = item.spec
        var arguments = [
            "--quiet", "--log-format=json", "--progress-address=0.0.0.0:\(settings.progressPort)",
            "--result-file=/dev/termination-log", "--parallel=\(spec.parallel ?? 32)", "--limit-addresses",
        ]
        arguments += settings.allowedAddresses.map { "--allow-address=\($0)" }
        if spec.onSourceChange == "Fail" { arguments.append("--on-change=fail") }
        if spec.verify == true { arguments.append("--verify") }
        if let checksum = spec.checksum { arguments.append("--checksum=\(checksum)") }
        if spec.checksumsConfigMap != nil { arguments.append("--checksums=\(Self.checksums)") }
        if spec.secretRef != nil { arguments.append("--credentials-dir=\(Self.keys)") }
        if spec.certConfigMap != nil { arguments.append("--ca-bundle=\(Self.authorities)") }
        if spec.extraHeadersSecret != nil { arguments.append("--headers-file=\(Self.headers)") }
        var sources: [String] = []
        if let s3 = spec.source.s3 {
            if let region = s3.region { arguments.append("--region=\(region)") }
            if let isPath = s3.pathStyle { arguments.append(isPath ? "--path-style" : "--virtual-host-style") }
            if s3.anonymous == true { arguments.append("--anonymous") }
            if s3.requesterPays == true { arguments.append("--requester-pays") }
            if let bucket = s3.bucket {
                sources = ["s3://\(bucket)/\(s3.object ?? s3.prefix ?? "")"]
                if s3.object == nil, let prefix = s3.prefix, !prefix.hasSuffix("/") {
                    arguments.append("--string-prefix")
                }
            }
        }
        sources += spec.source.http?.urls ?? []
        let directory = spec.directory.map { "/\($0)" } ?? ""
        return arguments + ["--"] + sources + ["\(Self.data)\(directory)/"]
    }

    private func environment(_ item: DatasetImport) -> [JSON] {
        var variables: [JSON] = [
            ["name": "AWS_EC2_METADATA_DISABLED", "value": "true"], ["name": "HOME", "value": "/tmp"],
        ]
        if let endpoint = item.spec.source.s3?.endpoint {
            variables.append(["name": "IMPORTER_ENDPOINT", "value": .string(endpoint)])
        }
        if let secret = item.spec.secretRef?.name {
            // As importers have them since CDI; the files of the Secret say the same in any spelling, and are renewed.
            for (name, key) in [("IMPORTER_ACCESS_KEY_ID", "accessKeyId"), ("IMPORTER_SECRET_KEY", "secretKey")] {
                let reference: JSON = ["name": .string(secret), "key": .string(key), "optional": true]
                variables.append(["name": .string(name), "valueFrom": ["secretKeyRef": reference]])
            }
        }
        return variables
    }
}

enum Labels {
    static let managedBy = "app.kubernetes.io/managed-by"
    static let controller = "millrace-controller"
}

extension JSON {
    func merging(_ other: JSON) -> JSON {
        var merged = self
        for (name, value) in other.object ?? [:] { merged[name] = value }
        return merged
    }
}
