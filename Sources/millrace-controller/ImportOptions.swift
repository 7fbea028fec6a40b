import ArgumentParser
import Controller
import Imports
import Kubernetes
import Logging
import PrometheusMetrics

/// How Jobs of imports are made.
struct ImportOptions: ParsableArguments {
    @Option(help: "Run Jobs of DatasetImports with this image, which has the program millrace (default: no imports).")
    var importImage: String?
    @Option(help: "When the kubelet pulls that image: Always, IfNotPresent or Never.")
    var importPullPolicy: String?
    @Option(help: "A Secret of the import's namespace for the image's registry.")
    var importPullSecret: [String] = []

    func validate() throws {
        if let policy = importPullPolicy, !["Always", "IfNotPresent", "Never"].contains(policy) {
            throw ValidationError("--import-pull-policy \(policy) is none of Always, IfNotPresent and Never")
        }
    }

    /// Nil: there are no imports.
    func controller(
        _ client: Client, allowing addresses: [String], resyncSeconds: Int, _ metrics: Registry, _ logger: Logger
    ) -> ImportController? {
        guard let importImage else { return nil }
        var job = JobTemplate.Settings(image: importImage)
        job.imagePullPolicy = importPullPolicy
        job.imagePullSecrets = importPullSecret
        job.allowedAddresses = addresses
        var settings = ImportController.Settings(job: job)
        settings.resyncSeconds = resyncSeconds
        return ImportController(
            client: client, settings: settings,
            policy: AddressPolicy(allowing: addresses.compactMap { AddressRange($0) }), metrics: metrics, logger: logger
        )
    }
}
