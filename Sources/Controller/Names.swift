/// What millrace calls things in Kubernetes' objects. `docs/reference.md` lists them all.
public enum Names {
    public static let group = "millrace.dev"
    public static let defaultDriver = "s3.csi.millrace.dev"

    // On claims, by people.
    /// `namespace/name` of a Dataset, or a name in the claim's own namespace.
    public static let dataset = "millrace.dev/dataset"
    /// A directory of the Dataset to show instead of all of it.
    public static let subPath = "millrace.dev/sub-path"

    // On Datasets, by people.
    /// Another value asks for a new revision now.
    public static let newRevision = "millrace.dev/new-revision"

    // On objects that the controller made.
    public static let managedBy = "app.kubernetes.io/managed-by"
    public static let controller = "millrace-controller"
    /// The Dataset's UID, on its volumes and published claims.
    public static let datasetUID = "millrace.dev/dataset-uid"
    /// A digest of what the volume shows: another one means that the volume must be made anew.
    public static let view = "millrace.dev/view"
    /// `namespace/name` of the published claim itself, so that a copy of its manifest isn't taken for ours.
    public static let publishedAs = "millrace.dev/published-as"

    /// On a claim whose Dataset is being made with it: nothing is decided about it before that is done.
    public static let incomplete = "millrace.dev/incomplete"

    // The node checks these again when a pod mounts.
    public static let allowedNamespaces = "millrace.dev/allowedNamespaces"
    public static let revision = "millrace.dev/revision"

    // Kubernetes' own.
    static let provisionedBy = "pv.kubernetes.io/provisioned-by"
    static let storageProvisioner = "volume.kubernetes.io/storage-provisioner"
    static let storageProvisionerBeta = "volume.beta.kubernetes.io/storage-provisioner"
    static let selectedNode = "volume.kubernetes.io/selected-node"
    static let volumeProtection = "kubernetes.io/pv-protection"
}
