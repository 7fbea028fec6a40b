import Controller
import Kubernetes

extension ClaimService {
    /// Deletes claims that a crash left without what belongs to them: those that are incomplete at two looks, minutes
    /// apart, where making one takes seconds. Looks until the task is cancelled.
    func sweep(everySeconds: Int = 300) async {
        var suspects: Set<String> = []
        while !Task.isCancelled {
            do throws(APIError) { suspects = try await sweepOnce(suspects) } catch {
                // The next look comes anyway.
                suspects = []
            }
            try? await Task.sleep(for: .seconds(everySeconds))
        }
    }

    /// - Parameter suspects: UIDs that were incomplete at the look before.
    /// - Returns: those that are now.
    func sweepOnce(_ suspects: Set<String>) async throws(APIError) -> Set<String> {
        let claims = try await client.list(PersistentVolumeClaim.self, labelSelector: Labels.selector)
        var incomplete: Set<String> = []
        for claim in claims.items where claim.metadata.annotations?[Names.incomplete] != nil {
            guard let uid = claim.metadata.uid, background.state(of: claim.key) != .running else { continue }
            guard suspects.contains(uid) else {
                incomplete.insert(uid)
                continue
            }
            do throws(APIError) {
                try await client.delete(
                    PersistentVolumeClaim.self, claim.key.name, namespace: claim.key.namespace, uid: uid)
            } catch {
                guard error.isNotFound || error.isConflict else { throw error }
            }
        }
        return incomplete
    }
}
