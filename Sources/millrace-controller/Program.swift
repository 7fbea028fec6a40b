@main
enum Program {
    static func main() async {
        // Before any thread starts, as threads inherit the mask.
        Termination.block()
        await MillraceController.main(nil)
    }
}
