/// The schemas that routes share.
enum Schemas {
    static let named = shared.merging(CredentialRoutes.schemas) { shared, _ in shared }

    private static let shared: [String: Schema] = [
        "Problem": .fields(
            .must("type", .string()), .must("title", .string("One word for machines.")),
            .must("status", .integer()), .must("detail", .string("What is wrong, and what to do."))),
        "Error": .fields(.must("error", .string()), closed: true),
        "Service": .fields(
            .must("version", .string()), .must("mode", .choice(["release", "debug"])), .must("service", .string()),
            closed: true),
        "Size": .fields(.must("objects", .integer()), .must("bytes", .integer()), closed: true),
        "Accepted": .fields(.must("status", .string("Where to ask how it is doing.")), closed: true),

        // PVCi's bodies; other fields are ignored, as PVCi ignores them.
        "CompatPlace": .object(place, closed: false),
        "CompatClaim": .object(place + name + [.must("storage_class", .string())], closed: false),
        "CompatName": .object(name, closed: false),
        "CompatStatus": .fields(
            .must("InjectorHasError", .boolean()), .must("InjectorError", .string()),
            .must("InjectorState", .free("As a Job's status: active, succeeded or failed.")),
            .must("PVCHasError", .boolean()), .must("PVCError", .string()),
            .must("PVCStatus", .free("The claim's status, as Kubernetes has it.")),
            .must("Phase", .choice(ClaimStatus.Phase.allCases.map(\.rawValue))), .must("Percent", .integer()),
            .must("Bytes", .integer("That can be read now.")), closed: true),

        // Bodies under /v1.
        "S3Source": .fields(
            .must("bucket", .string()), .may("prefix", .string()),
            .may("endpoint", .string("https://host[:port]; AWS if it is missing.")), .may("region", .string()),
            .may("pathStyle", .boolean()), .may("anonymous", .boolean()), .may("requesterPays", .boolean()),
            .may("caBundle", .string("Certificate authorities of the endpoint, PEM.")), closed: true),
        "Source": .fields(.must("s3", .named("S3Source")), closed: true),
        "Credentials": .fields(
            .must("accessKeyID", .string()), .must("secretAccessKey", .string()), .may("sessionToken", .string()),
            closed: true),
        "SecretReference": .fields(.must("name", .string("Of a Secret in the namespace."))),
        "Place": .fields(
            .must("source", .named("Source")), .may("credentials", .named("Credentials")),
            .may("directory", .boolean("false: all keys that begin with the prefix.")), closed: true),
        "ClaimOrder": .fields(
            .must("name", .string()), .may("storageClassName", .string("A clone's is that of its original.")),
            .may("source", .named("Source")), .may("credentials", .named("Credentials")),
            .may("secretRef", .named("SecretReference")),
            .may("dataset", .string("namespace/name, or a name in the namespace.")),
            .may("clone", .string("A claim of the namespace that is Ready.")), .may("subPath", .string()),
            .may("accessModes", .list(.string())), .may("capacity", .string("A quantity.")), closed: true),
        "Mode": .fields(.must("accessMode", .choice(["ReadOnlyMany", "ReadWriteOnce"])), closed: true),

        // Answers under /v1.
        "Claim": .fields(
            .must("namespace", .string()), .must("name", .string()),
            .must("phase", .choice(ClaimStatus.Phase.allCases.map(\.rawValue))), .must("message", .string()),
            .must("percent", .integer()), .must("bytes", .integer("That can be read now.")),
            .may("kind", .choice(["Dataset", "ZeroCopy", "Copy", "Clone"])), .may("objects", .integer()),
            .may("bytesTotal", .integer()), .may("storageClassName", .string()), .may("volumeName", .string()),
            .may("capacity", .string()), .may("accessModes", .list(.string())), .may("claimPhase", .string()),
            .may("dataset", .string()), .may("origin", .string()), closed: true),
        "ClaimList": .fields(.must("items", .list(.named("Claim"))), closed: true),
        "Object": .fields(
            .must("apiVersion", .string()), .must("kind", .string()), .must("metadata", .free("ObjectMeta")),
            .must("spec", .free("As in the CRD.")), .may("status", .free("As in the CRD."))),
        "ObjectList": .fields(.must("items", .list(.named("Object"))), closed: true),
        "ObjectOrder": .fields(
            .must("name", .string()), .must("spec", .free("As in the CRD.")),
            .may("labels", .free("Label values by name.")), .may("annotations", .free("Annotations by name.")),
            closed: true),
    ]

    private static let place: [Schema.Field] = [
        .must("s3_endpoint", .string("host[:port]")), .may("s3_ssl", .boolean()), .must("s3_bucket", .string()),
        .may("s3_prefix", .string("All keys that begin so.")), .may("s3_key", .string()), .may("s3_secret", .string()),
    ]
    private static let name: [Schema.Field] = [.must("namespace", .string()), .must("name", .string())]
}
