import ArgumentParser
import Warming

/// What the warm-up of nodes' caches is told on the command line.
struct WarmOptions: ParsableArguments {
    @Flag(help: "Leave nodes' caches alone: nothing is warmed up, and no right on nodes and pods is needed.")
    var noWarming = false
    @Option(help: "The image of pods that warm up nodes' caches; it has the program millrace.")
    var warmImage = WarmPodSettings().image
    @Option(help: "A Secret for the registry of that image, in the Datasets' namespaces; may be given more than once.")
    var warmImagePullSecret: [String] = []

    var settings: WarmPodSettings? {
        guard !noWarming else { return nil }
        var settings = WarmPodSettings()
        settings.image = warmImage
        settings.imagePullSecrets = warmImagePullSecret
        return settings
    }
}
