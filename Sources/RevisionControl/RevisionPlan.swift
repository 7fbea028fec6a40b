import Controller
import Kubernetes

/// What is to be done about one Dataset's revisions, from what is known and nothing else.
public struct RevisionPlan: Equatable, Sendable {
    public enum Step: Equatable, Sendable {
        /// A new revision, for this reason; `request`: the annotation's value that asks for it.
        case build(why: String, request: String?)
        /// Pods that start get it from now on, where their volumes roll forward.
        case point(Dataset.RevisionRecord)
        /// Manifests that nobody needs.
        case remove([Dataset.RevisionRecord])
        /// The Dataset goes: all its manifests, and then the finalizer.
        case leave
        /// Look again then, in seconds since 1970.
        case wait(until: Int)
        /// The spec can't be done; says why.
        case refuse(String)
    }

    public var steps: [Step]

    public static let finalizer = "millrace.dev/revisions"

    /// Of a revision that was begun then, seconds since 1970: "20261121t161500z", in order, and fit for a label and a
    /// path.
    static func id(at seconds: Int) -> String {
        Timestamp.at(seconds).filter { $0.isLetter || $0.isNumber }.lowercased()
    }
    public static let defaultKeep = 3
    /// A failed attempt is made again after so long, and not before, whatever else asks for one.
    static let retrySeconds = 60
    /// Between the clocks of the API server and of this process.
    static let clockSlackSeconds = 60

    /// - Parameters:
    ///   - used: IDs of revisions that volumes show.
    ///   - now: seconds since 1970.
    public static func decide(_ dataset: Dataset, used: Set<String>, now: Int) -> RevisionPlan {
        let records = dataset.status?.revisions ?? []
        if dataset.metadata.isBeingDeleted {
            guard dataset.metadata.finalizers?.contains(finalizer) ?? false else { return RevisionPlan(steps: []) }
            // A volume that is still there may be mounted again by a node that restarts.
            return RevisionPlan(steps: used.isEmpty ? [.leave] : [])
        }
        var steps: [Step] = []
        let newest = dataset.newestRevision
        if newest == nil || newest?.id == dataset.status?.revision?.current {
            let unneeded = unneeded(records, dataset, used: used)
            if !unneeded.isEmpty { steps.append(.remove(unneeded)) }
        } else if dataset.isPinned, let newest {
            // Nothing is removed meanwhile: where the pointer leads just now isn't known for certain.
            let patience = patience(dataset)
            steps.append(now < patience ? .wait(until: patience) : .point(newest))
        }
        guard dataset.isPinned, dataset.spec.source.problem == nil else { return RevisionPlan(steps: steps) }
        if let problem = problem(dataset) { return RevisionPlan(steps: steps + [.refuse(problem)]) }
        steps.append(next(dataset, now))
        return RevisionPlan(steps: steps)
    }

    /// The newest are kept, and those that volumes show. Of a Dataset that is live again only the very newest, as a volume
    /// may be made of it this moment.
    private static func unneeded(
        _ records: [Dataset.RevisionRecord], _ dataset: Dataset, used: Set<String>
    ) -> [Dataset.RevisionRecord] {
        let current = records.filter { $0.source == dataset.sourceDigest }.sorted { $0.id > $1.id }
        let keep = dataset.isPinned ? max(dataset.spec.revision?.keep ?? defaultKeep, 1) : 1
        // The pointer's, too: until it has moved, pods get that one.
        let pointed = dataset.status?.revision?.current
        let kept = Set(current.prefix(keep).map(\.id) + [pointed].compactMap { $0 }).union(used)
        return records.filter { !kept.contains($0.id) }.sorted { $0.id < $1.id }
    }

    /// Those that pods may show whose volumes roll forward: a pod has what was the newest at some time since it was made.
    ///
    /// - Parameter oldest: when the oldest of these pods was made, in seconds since 1970.
    static func held(_ records: [Dataset.RevisionRecord], since oldest: Int) -> Set<String> {
        var held: Set<String> = []
        // When the next one took its place.
        var end = Int.max
        for record in records.sorted(by: { $0.id > $1.id }) {
            if end > oldest - clockSlackSeconds { held.insert(record.id) }
            end = record.readyAt.flatMap { Timestamp.seconds($0) } ?? end
        }
        return held
    }

    private static func problem(_ dataset: Dataset) -> String? {
        let spec = dataset.spec
        guard let s3 = spec.source.kind?.asS3 else {
            return "spec.revision.policy: Pinned is possible for sources that speak S3, and not for this one"
        }
        if let text = spec.revision?.schedule, (try? CronSchedule(text)) == nil {
            return "spec.revision.schedule is \"\(text)\"; it must be a cron expression such as 0 3 * * *"
        }
        guard let store = spec.revision?.store else {
            if spec.secretRef == nil {
                let why =
                    s3.anonymous == true
                    ? "a public bucket can't be written to" : "the controller can't take a pod's role"
                return "spec.revision.store is missing: \(why), so say where manifests are to be kept, with a secretRef"
            }
            return spec.source.pachyderm == nil
                ? nil
                : "spec.revision.store is missing: manifests can't be kept in Pachyderm, so say where, with a secretRef"
        }
        if store.secretRef == nil, spec.secretRef == nil {
            return "spec.revision.store.secretRef is missing: the store can't be written to without keys"
        }
        if store.prefix.map({ !$0.hasSuffix("/") || $0.hasPrefix("/") }) ?? false {
            return "spec.revision.store.prefix must end in a slash and not begin with one"
        }
        return nil
    }

    /// When what failed may be tried again, in seconds since 1970; 0: nothing did.
    private static func patience(_ dataset: Dataset) -> Int {
        guard let state = dataset.status?.revision, state.phase == "Failed" else { return 0 }
        return state.lastAttempt.flatMap { Timestamp.seconds($0) }.map { $0 + retrySeconds } ?? 0
    }

    private static func next(_ dataset: Dataset, _ now: Int) -> Step {
        let state = dataset.status?.revision
        let attempted = state?.lastAttempt.flatMap { Timestamp.seconds($0) }
        let request = dataset.metadata.annotations?[Names.newRevision]
        var why: String?
        var due = Int.max
        if dataset.newestRevision == nil {
            why = "there is no revision of the source yet"
        } else if let request, request != state?.request {
            why = "the annotation \(Names.newRevision) asks for it"
        } else if let schedule = dataset.spec.revision?.schedule.flatMap({ try? CronSchedule($0) }) {
            // From the last attempt on: what was missed while nobody looked is made up for once.
            due = schedule.next(after: attempted ?? now) ?? .max
            if due <= now { why = "the schedule says so" }
        }
        guard let why else { return due == .max ? .wait(until: .max) : .wait(until: due) }
        let patience = patience(dataset)
        if now < patience { return .wait(until: patience) }
        return .build(why: why, request: request)
    }
}
