import Controller
import Kubernetes

/// What a warm-up needs of a Dataset.
enum WarmSource {
    /// What its pods mount.
    static func view(of dataset: Dataset) throws(Refusal) -> DatasetView {
        guard let source = dataset.spec.source.s3 else {
            throw Refusal(
                "NotCacheable",
                "only data that nodes fetch from S3 can be warm; Dataset \(dataset.key) has no source.s3.")
        }
        if let problem = source.problem {
            throw Refusal("SourceInvalid", "Dataset \(dataset.key): source.s3.\(problem)")
        }
        return DatasetView(dataset, subPath: nil)
    }
}

/// When a warm-up that is complete is compared with the source again.
struct WarmSchedule: Equatable {
    /// Since when what is warm is what it should be; nil without a schedule.
    var runAt: String?
    /// Milliseconds until the next time.
    var nextMs: Int?

    /// `last`: the time of the last run, as the status has it.
    init(_ schedule: String?, last: String?, now: Int) throws(Refusal) {
        guard let schedule else { return }
        let cron: CronSchedule
        do { cron = try CronSchedule(schedule) } catch {
            throw Refusal("InvalidSchedule", "spec.warm.schedule: \(error)")
        }
        var began = last.flatMap(Timestamp.seconds) ?? now
        // Times that were missed, as nobody led, are made up for by one run.
        if let due = cron.next(after: began), due <= now { began = now }
        runAt = Timestamp.at(began)
        nextMs = cron.next(after: began).map { max(1, $0 - now) * 1000 }
    }
}

extension Dataset.WarmStatus {
    static func refused(_ refusal: Refusal) -> Dataset.WarmStatus {
        var status = Dataset.WarmStatus()
        status.phase = .failed
        status.message = refusal.message
        return status
    }
}
