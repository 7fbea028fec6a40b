import Controller
import Kubernetes

/// What is to be done next about filling one claim by one Job. No I/O, no clock.
enum FillStep: Equatable {
    case makeClaim
    /// Mark the claim as being filled by this import.
    case hold
    case makeJob
    /// The Job is at work.
    case follow
    /// The Job has ended.
    case conclude
    case wait(reason: String, message: String)
    case refuse(reason: String, message: String)
}

enum FillPlan {
    /// - Parameters:
    ///   - holder: what the claim says of who fills it; nil where nobody does, or who did has ended or is gone.
    static func decide(
        _ item: DatasetImport, claimName: String, claim: PersistentVolumeClaim?, holder: String?, job: Job?
    ) -> FillStep {
        let isMade = item.spec.claimTemplate != nil
        guard let claim else {
            if isMade { return .makeClaim }
            return .wait(
                reason: "ClaimMissing", message: "There is no claim \(claimName) in this namespace; create it.")
        }
        if claim.metadata.isBeingDeleted {
            return .wait(reason: "ClaimGoing", message: "Claim \(claimName) is being deleted.")
        }
        if isMade, claim.metadata.labels?[ImportNames.uidLabel] != item.uid {
            return .refuse(
                reason: "ClaimTaken",
                message:
                    "There is a claim \(claimName) that this import didn't make; set spec.claimTemplate.name to another "
                    + "name, or spec.claimName to fill that one.")
        }
        if claim.spec.volumeMode == "Block" {
            return .refuse(
                reason: "ClaimUnusable", message: "Claim \(claimName) is a block device; imports write files.")
        }
        if claim.status?.phase == "Lost" {
            return .refuse(reason: "ClaimUnusable", message: "Claim \(claimName) has lost its volume.")
        }
        let mine = FillPlan.mark(item)
        if let holder, holder != mine {
            return .refuse(
                reason: "ClaimInUse",
                message:
                    "Claim \(claimName) is being filled by import \(holder.split(separator: "/").first ?? "?"); wait for "
                    + "its end and create this one again, or use another claim.")
        }
        if claim.metadata.annotations?[ImportNames.filledBy] != mine { return .hold }
        guard let job else { return .makeJob }
        return job.isOver ? .conclude : .follow
    }

    static func mark(_ item: DatasetImport) -> String { "\(item.metadata.name ?? "")/\(item.uid)" }
}

/// What is wrong with a spec that no schema can see; and where it leads.
enum ImportCheck {
    static func problem(_ item: DatasetImport) -> (reason: String, message: String)? {
        let spec = item.spec
        if (spec.source.s3 == nil) == (spec.source.http == nil) {
            return ("SourceInvalid", "Exactly one of spec.source.s3 and spec.source.http must be set.")
        }
        if spec.claimName != nil && spec.claimTemplate != nil {
            return ("TargetInvalid", "spec.claimName and spec.claimTemplate exclude each other; remove one.")
        }
        if let s3 = spec.source.s3, s3.bucket == nil, spec.secretRef == nil {
            return ("SourceInvalid", "spec.source.s3.bucket is missing, and there is no Secret that could name it.")
        }
        if spec.checksum != nil, !spec.source.mayBeOneFile {
            return (
                "SourceInvalid",
                "spec.checksum is of one object, and the source is a prefix or several; name the files' checksums in "
                    + "spec.checksumsConfigMap."
            )
        }
        if let directory = spec.directory, let why = subPathProblem(directory) {
            return ("TargetInvalid", "spec.directory: \(why).")
        }
        if let text = spec.schedule {
            guard spec.claimTemplate != nil else {
                return ("TargetInvalid", "A schedule needs spec.claimTemplate: each run fills a claim of its own.")
            }
            do throws(CronError) {
                let schedule = try CronSchedule(text)
                if schedule.next(after: 0) == nil { return ("ScheduleInvalid", "spec.schedule \(text) never comes.") }
            } catch {
                return ("ScheduleInvalid", "spec.schedule: \(error)")
            }
        }
        return nil
    }

    /// The URLs that its Job would reach.
    static func urls(_ item: DatasetImport) -> [(field: String, url: String)] {
        var urls: [(String, String)] = []
        if let endpoint = item.spec.source.s3?.endpoint { urls.append(("spec.source.s3.endpoint", endpoint)) }
        for (i, url) in (item.spec.source.http?.urls ?? []).enumerated() {
            urls.append(("spec.source.http.urls[\(i)]", url))
        }
        return urls
    }
}

extension DatasetImport.Source {
    /// False where it is known to be a prefix, an index or a list.
    fileprivate var mayBeOneFile: Bool {
        // Without a bucket the Secret names bucket and key.
        if let s3 { return s3.object != nil || s3.bucket == nil }
        return http.map { $0.urls.count == 1 && !$0.urls[0].hasSuffix("/") } ?? true
    }
}

/// When a schedule's next run is.
enum SchedulePlan {
    enum Step: Equatable {
        /// The time in seconds since 1970; times that were missed are left out but the last.
        case start(Int)
        case waitUntil(Int)
        case never
    }

    /// The first run is due at once, as there is no data yet. `created` is by the API server's clock, which may be ahead:
    /// a run in the future would put off the next.
    static func decide(_ item: DatasetImport, created: Int, now: Int) -> Step {
        guard let text = item.spec.schedule, let schedule = try? CronSchedule(text) else { return .never }
        if item.spec.suspend == true { return .never }
        guard let last = item.status?.lastScheduleTime.flatMap(Timestamp.seconds) else {
            return .start(min(created, now))
        }
        guard var due = schedule.next(after: last) else { return .never }
        if due > now { return .waitUntil(due) }
        for _ in 0..<100_000 {
            guard let next = schedule.next(after: due), next <= now else { break }
            due = next
        }
        return .start(due)
    }

    static func run(_ item: DatasetImport, at time: Int) -> DatasetImport.Run {
        let stamp = Timestamp.at(time).filter { $0.isNumber || $0 == "T" }.prefix(13).lowercased()
        let base = (item.spec.claimTemplate?.name ?? item.metadata.name ?? "import").prefix(230)
        return DatasetImport.Run(
            scheduled: time, claimName: "\(base)-\(stamp)", jobName: ImportNames.job(uid: item.uid, scheduled: time))
    }

    /// Which of the claims that runs made are to go: all but those of the newest that succeeded, and of the one under way.
    static func surplus(_ item: DatasetImport, claims: [PersistentVolumeClaim]) -> [PersistentVolumeClaim] {
        let whole = (item.status?.history ?? []).filter { $0.phase == .succeeded }.prefix(item.keepLast).map(
            \.claimName)
        let kept = Set(whole + [item.status?.current?.claimName, item.status?.latestClaim].compactMap { $0 })
        return claims.filter {
            $0.metadata.labels?[ImportNames.uidLabel] == item.uid && !kept.contains($0.metadata.name ?? "")
        }
    }

    /// Runs that are remembered: the ones whose claims are kept, and as many others.
    static func trimmed(_ history: [DatasetImport.Run], keepLast: Int) -> [DatasetImport.Run] {
        var left = [true: keepLast, false: 3]
        return history.filter { run in
            let isWhole = run.phase == .succeeded
            left[isWhole]! -= 1
            return left[isWhole]! >= 0
        }
    }
}
