import Glibc
import Keeper

do {
    exit(KeeperProgram.run(try KeeperProgram.parse(Array(CommandLine.arguments.dropFirst()))))
} catch {
    KeeperProgram.complain("\(error.message)\n\(KeeperProgram.usage)")
    exit(64)
}
