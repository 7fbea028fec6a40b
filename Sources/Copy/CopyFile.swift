import S3
import Synchronization

/// One file whose parts are under way.
final class CopyFile: Sendable {
    let part: PartFile
    let item: CopyItem
    /// Parts that have not ended, well or badly.
    private let missing: Atomic<Int>
    private let givenUp = Atomic(false)
    private let changed = Atomic(false)
    private let counted = Atomic<Int64>(0)

    init(_ part: PartFile, _ item: CopyItem) {
        self.part = part
        self.item = item
        missing = Atomic(part.missing.count)
    }

    func wasLast() -> Bool { missing.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }

    var isGivenUp: Bool { givenUp.load(ordering: .relaxed) }
    /// Answers whether this was the first failure.
    func giveUp() -> Bool { !givenUp.exchange(true, ordering: .relaxed) }
    var isChanged: Bool { changed.load(ordering: .relaxed) }
    func noteChanged() { changed.store(true, ordering: .relaxed) }

    // MARK: Its share of the progress

    func count(_ bytes: UInt64, in job: CopyJob) {
        counted.add(Int64(clamping: bytes), ordering: .relaxed)
        job.adjust(bytesDone: Int64(clamping: bytes))
    }
    func received(_ bytes: Int, in job: CopyJob) {
        counted.add(Int64(bytes), ordering: .relaxed)
        job.received(bytes)
    }
    func uncount(in job: CopyJob) { job.adjust(bytesDone: -counted.load(ordering: .relaxed)) }
}

/// Writes a part's bytes as they come, on the transfer thread: the page cache takes them at memory speed.
final class PartReceiver: GetReceiver, @unchecked Sendable {
    private let job: CopyJob
    private let file: CopyFile
    private let part: Int
    /// Touched by one transfer thread at a time.
    private var failure: CopyError?

    init(job: CopyJob, file: CopyFile, part: Int) {
        self.job = job
        self.file = file
        self.part = part
    }

    func received(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        guard failure == nil else { return }
        do throws(CopyError) {
            try file.part.write(bytes, at: offset)
            file.received(bytes.count, in: job)
        } catch {
            failure = error
        }
    }

    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        if failure == nil, case .failure(let error) = result {
            if error == .changed { file.noteChanged() }
            failure = CopyError(path: file.item.key.description, reason: "\(error)")
        }
        job.ended(part, of: file, failure)
    }
}
