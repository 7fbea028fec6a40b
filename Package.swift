// swift-tools-version: 6.2
import PackageDescription

// Three layers, arrows one way:
//   data plane  C modules → Threads, Metrics, Logs → Curl → S3 → BlockCache, Namespace → FileSystem → Mount → Commands
//   node        NodeProtocol, Keeper → CSI (gRPC)
//   cluster     Kubernetes → Controller (gRPC for CSI, HTTP for the API)
// ARCHITECTURE.md says what each target holds.

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}
func program(_ name: String, _ dependencies: [Target.Dependency], linker: [LinkerSetting] = []) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict, linkerSettings: linker)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// For programs that run alone: no Swift runtime to install beside them, and half the memory of a dynamic one.
/// `-static-stdlib` alone doesn't link a Foundation with what it needs itself.
func standalone(with foundation: [String] = []) -> [LinkerSetting] {
    let libraries = foundation + ["FoundationEssentials", "_FoundationCollections", "_FoundationCShims"]
    return [
        .unsafeFlags(
            ["-static-stdlib", "-Xlinker", "--start-group"] + libraries.map { "-l\($0)" } + ["-Xlinker", "--end-group"])
    ]
}
/// What all of Foundation takes, which Yams uses.
let wholeFoundation = ["Foundation", "CoreFoundation", "FoundationInternationalization", "_FoundationICU", "stdc++"]

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let grpc: [Target.Dependency] = [
    .product(name: "GRPCCore", package: "grpc-swift-2"),
    .product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport"),
    .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf"),
]
let http: [Target.Dependency] = [
    .product(name: "Hummingbird", package: "hummingbird"), .product(name: "HummingbirdTLS", package: "hummingbird"),
]
let yaml: Target.Dependency = .product(name: "Yams", package: "Yams")

var targets: [Target] = [
    // C modules: headers with the shims that Swift cannot call itself (macros, variadics).
    .target(name: "CLinux"),
    .target(name: "CFuse", linkerSettings: [.linkedLibrary("fuse3")]),
    .target(name: "CCurl", linkerSettings: [.linkedLibrary("curl")]),
    .target(name: "CCrypto", linkerSettings: [.linkedLibrary("crypto")]),
    .target(name: "CExpat", linkerSettings: [.linkedLibrary("expat")]),

    // Data plane.
    library("Threads", ["CLinux"]),
    library("PrometheusMetrics", ["Threads"]),
    library("Logs", ["Threads", log]),
    library("Curl", ["CCurl", "Threads"]),
    library("S3", ["Curl", "CCrypto", "CExpat", "CLinux", "PrometheusMetrics", "Threads", log, system]),
    library("Fuse", ["CFuse", "CLinux", "Threads", log, system]),
    library("BlockCache", ["S3", "CCrypto", "CLinux", "PrometheusMetrics", "Threads", log, system]),
    library("Namespace", ["S3", "PrometheusMetrics", "Threads", log, system]),
    library("FileSystem", ["BlockCache", "Namespace", "S3", "PrometheusMetrics", "Threads", log, system]),
    library(
        "Mount",
        [
            "Fuse", "FileSystem", "HTTPStore", "Manifests", "NodeProtocol", "CLinux", "Logs", "PrometheusMetrics",
            "Threads", log, system,
        ]),
    library("Manifests", ["Namespace", "S3", "CCrypto", "CLinux", "Threads", system]),
    library("HTTPStore", ["S3", "Curl", "Threads", log, system]),
    library("Copy", ["S3", "CCrypto", "Curl", "HTTPStore", "PrometheusMetrics", "Threads", system]),
    library(
        "Commands",
        [
            "Mount", "Manifests", "HTTPStore", "Copy", "Curl", "Keeper", "Logs", "Namespace", "PrometheusMetrics",
            arguments, log, system,
        ]),
    program("millrace", ["Commands"], linker: standalone()),

    // Node.
    library("NodeProtocol", ["CLinux", "Threads", system]),
    library("Keeper", ["NodeProtocol", "CLinux", "Threads", system]),
    // Without a shared library its size is its own: no page cache and no other program makes it larger.
    program("millrace-keeper", ["Keeper"], linker: [.unsafeFlags(["-static-executable"])]),
    library("CSIProtocol", [protobuf] + grpc),
    library(
        "CSI",
        ["CSIProtocol", "NodeProtocol", "CCrypto", "CLinux", "Logs", "PrometheusMetrics", "Threads", log, system] + grpc
    ),
    program("millrace-csi", ["CSI", "CSIController", "Controller", arguments] + grpc),

    // Cluster.
    library("Kubernetes", ["Curl", "PrometheusMetrics", "Threads", log, yaml]),
    library("Controller", ["Kubernetes", "Curl", "Namespace", "S3", "CCrypto", "PrometheusMetrics", "Threads", log]),
    library("CSIController", ["Controller", "CSIProtocol", "PrometheusMetrics", log] + grpc),
    library("Imports", ["Controller", "Curl", "Kubernetes", "PrometheusMetrics", "Threads", log]),
    library("Warming", ["Controller", "Kubernetes", "Curl", "PrometheusMetrics", "Threads", log]),
    library(
        "RevisionControl",
        ["Controller", "Curl", "Kubernetes", "Manifests", "S3", "PrometheusMetrics", "Threads", log]),
    library("Broker", ["Controller", "Kubernetes", "Curl", "S3", "CCrypto", "PrometheusMetrics", "Threads", log]),
    library(
        "API",
        [
            "Controller", "Imports", "Broker", "Kubernetes", "S3", "PrometheusMetrics", "Threads", log,
        ] + http),
    program(
        "millrace-controller",
        ["Controller", "CSIController", "Imports", "Warming", "RevisionControl", "Broker", "API", "Logs", arguments]),
    library("Kubectl", ["Kubernetes", "Controller", arguments]),
    program("kubectl-millrace", ["Kubectl"], linker: standalone(with: wholeFoundation)),

    // Stand-ins that misbehave on command, as libraries for tests and as programs for a terminal.
    library("TestSupport", ["S3", "CCrypto", "Threads", system]),
    library("BlockCacheTestSupport", ["BlockCache", "Threads", system]),
    program("disk-cache-writer", ["BlockCache", "PrometheusMetrics", "S3", "Threads", log, system]),
    program("s3-embedded", ["TestSupport", "S3", "Threads", arguments]),
    library("KubernetesTestSupport", ["Kubernetes", "Threads", yaml]),
    program("kube-embedded", ["KubernetesTestSupport", arguments]),

    tests("TestSupportTests", ["TestSupport", "S3", "Threads"]),
    tests("S3Tests", ["S3", "Curl", "TestSupport"]),
    tests("FuseTests", ["Fuse"]),
    tests("BlockCacheTests", ["BlockCache", "BlockCacheTestSupport", "TestSupport", "disk-cache-writer"]),
    tests("NamespaceTests", ["Namespace", "TestSupport"]),
    tests("FileSystemTests", ["FileSystem", "BlockCacheTestSupport", "TestSupport"]),
    tests("MountTests", ["Mount", "TestSupport"]),
    tests("CopyTests", ["Copy", "Curl", "PrometheusMetrics", "TestSupport", "Threads"]),
    tests("CommandsTests", ["Commands", "TestSupport"]),
    tests("NodeTests", ["NodeProtocol", "Keeper"]),
    tests("CSITests", ["CSI"]),
    tests("KubernetesTests", ["Kubernetes", "KubernetesTestSupport", "Threads", log]),
    tests("ManifestsTests", ["Manifests", "TestSupport"]),
    tests("HTTPStoreTests", ["HTTPStore", "TestSupport"]),
    tests("ImportsTests", ["Imports", "KubernetesTestSupport", "TestSupport", "Threads", log]),
    tests("WarmingTests", ["Warming", "KubernetesTestSupport", "TestSupport", "Threads", log]),
    tests("RevisionControlTests", ["RevisionControl", "KubernetesTestSupport", "TestSupport", "Threads", log]),
    tests("BrokerTests", ["Broker", "KubernetesTestSupport", "TestSupport", "Threads", log]),
    tests("KubectlTests", ["Kubectl", "KubernetesTestSupport", "Threads", log]),
    tests("APITests", ["API", "KubernetesTestSupport", "TestSupport", "Threads", log]),
    tests("ControllerTests", ["Controller", "KubernetesTestSupport", "TestSupport", "Threads", log]),
]

/// Packages by name: only those that a target below asks for are resolved.
let packages: [String: Package.Dependency] = [
    "swift-log": .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    "swift-system": .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    "swift-argument-parser": .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    "swift-protobuf": .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    "grpc-swift-2": .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.0"),
    "grpc-swift-nio-transport": .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.0"),
    "grpc-swift-protobuf": .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.0"),
    "hummingbird": .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    "Yams": .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
]

// MILLRACE_TARGETS="millrace MountTests" leaves every other target out, and so the packages that only those need:
// the data plane alone builds in a fraction of the time, as it has no NIO and no gRPC.
if let wanted = Context.environment["MILLRACE_TARGETS"] {
    var keep = Set(wanted.split(separator: " ").map(String.init))
    var count = 0
    while keep.count != count {
        count = keep.count
        for target in targets where keep.contains(target.name) {
            for case .byNameItem(let name, _) in target.dependencies { keep.insert(name) }
        }
    }
    targets.removeAll { !keep.contains($0.name) }
}
let used = Set(
    targets.flatMap(\.dependencies).compactMap { dependency -> String? in
        if case .productItem(_, let package, _, _) = dependency { package } else { nil }
    })

let package = Package(
    name: "millrace",
    dependencies: used.sorted().compactMap { packages[$0] },
    targets: targets
)
