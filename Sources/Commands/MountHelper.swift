/// What mount(8) and systemd call for a line of fstab with the type `millrace`:
/// `mount.millrace SOURCE DIR [-sfnv] [-o OPTION[,OPTION…]]`.
enum MountHelper {
    /// Options that mean something to mount(8) or systemd, or that every Millrace mount has anyway.
    private static let ignored: Set<String> = [
        "ro", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "_netdev", "nofail", "nosuid", "nodev",
        "noexec", "exec", "suid", "dev", "noatime", "relatime", "async", "remount",
    ]
    private static let flags: Set<String> = Set(Layers.mount.filter(\.isFlag).map(\.name))
    private static let options: Set<String> = Set(Layers.mount.filter { !$0.isFlag }.map(\.name) + ["config"])

    /// The arguments of `millrace` that do the same.
    static func arguments(_ arguments: [String]) throws -> [String] {
        var positional: [String] = []
        var out = ["mount"]
        var i = arguments.startIndex
        while i < arguments.endIndex {
            let argument = arguments[i]
            i += 1
            switch argument {
            case "-o":
                guard i < arguments.endIndex else { throw usage("-o needs a list of options behind it") }
                for option in arguments[i].split(separator: ",") { try add(String(option), to: &out) }
                i += 1
            case "-t":
                i += 1
            case _ where argument.hasPrefix("-") && argument.count > 1:
                continue  // -s (sloppy), -f (fake), -n (no mtab), -v (verbose): nothing to do differently
            default:
                positional.append(argument)
            }
        }
        guard positional.count == 2 else { throw usage("it takes a source and a directory") }
        return out + positional
    }

    private static func add(_ option: String, to out: inout [String]) throws {
        // fstab's names may be written with underscores, as FUSE's own are.
        let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = String(parts[0].map { $0 == "_" ? "-" : $0 })
        if ignored.contains(parts[0]) || parts[0].hasPrefix("x-") || parts[0].hasPrefix("comment") { return }
        if parts[0] == "rw" {
            throw Failure("option rw", because: "Millrace mounts are read-only", fix: "write ro instead of rw")
        }
        if flags.contains(name), parts.count == 1 {
            out.append("--\(name)")
        } else if options.contains(name), parts.count == 2 {
            out.append("--\(name)=\(parts[1])")
        } else {
            throw usage("there is no option \(option)")
        }
    }

    private static func usage(_ why: String) -> Failure {
        Failure(
            "mount.millrace", because: why,
            fix: "mount -t millrace s3://BUCKET[/PREFIX] DIR -o endpoint=URL,allow_other (names: millrace mount --help)"
        )
    }
}
