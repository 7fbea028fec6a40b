import Controller
import Kubernetes

/// What to do next about a grant. Each step is done, and then the grant is looked at again: a crash between two steps
/// loses nothing that counts.
public enum GrantStep: Sendable, Equatable {
    case nothing
    /// Add the finalizer: from here on keys may exist.
    case hold
    /// Note the session and its scope, before the first keys of it exist.
    case begin(GrantScope)
    case mint(GrantScope)
    /// Keys that were minted must not work any more; those that come have another session.
    case withdraw
    case refuse(Refusal)
    /// All is well, keys are minted by who asks for them.
    case ready
    /// All is well until then, seconds since 1970.
    case wait(until: Int64)
    /// The grant is being deleted: revoke and let go.
    case end
}

public enum GrantPlan {
    /// `secretIsThere`: whether the grant's Secret exists and is the grant's. `now`: seconds since 1970.
    public static func next(
        _ grant: CredentialGrant, _ scope: Result<GrantScope, Refusal>, secretIsThere: Bool, now: Int64
    ) -> GrantStep {
        let isHeld = grant.metadata.finalizers?.contains(CredentialGrant.finalizer) ?? false
        if grant.metadata.isBeingDeleted { return isHeld ? .end : .nothing }
        guard isHeld else { return .hold }
        let begun = grant.status?.scope
        switch scope {
        case .failure(let refusal):
            return begun == nil ? .refuse(refusal) : .withdraw
        case .success(let scope):
            guard let begun else { return .begin(scope) }
            guard begun == scope.digest else { return .withdraw }
            if grant.isAnswered { return .ready }
            guard secretIsThere, grant.status?.observedGeneration == grant.metadata.generation,
                let renewAt = grant.status?.renewAt.flatMap(Timestamp.seconds).map(Int64.init), now < renewAt
            else { return .mint(scope) }
            return .wait(until: renewAt)
        }
    }

    /// When to mint anew: after 60 to 80 % of the keys' life, so that grants of one moment don't come all at once. Not
    /// at once, whatever the store's clock says.
    public static func renewal(
        issued: Int64, expires: Int64, using random: inout some RandomNumberGenerator
    ) -> Int64 {
        let life = max(0, expires - issued)
        return issued + max(60, life * Int64.random(in: 60...80, using: &random) / 100)
    }
}
