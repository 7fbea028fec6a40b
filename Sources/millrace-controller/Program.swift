import Glibc

@main
enum Program {
    /// Not async: Swift's main thread would end in libdispatch, which unblocks every signal there, so that SIGTERM would
    /// kill the process instead of being waited for. Here the main thread is the one that waits.
    static func main() {
        Termination.block()
        Task.detached {
            await MillraceController.main(nil)
            exit(0)
        }
        Termination.serve()
    }
}
