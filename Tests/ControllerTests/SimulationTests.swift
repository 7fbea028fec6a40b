import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

/// Random histories, the same for the same seed: people create, change and delete things, the cluster's own controllers
/// and ours take turns in any order, caches are stale, our controller is killed at API calls and two run at once. In the
/// end everything must be as it should be, and some things must hold all the time.
@Suite struct SimulationTests {
    /// More for a longer run: MILLRACE_SIM_SEEDS=10000, from MILLRACE_SIM_FIRST on.
    static let seeds: Range<UInt64> = {
        let environment = ProcessInfo.processInfo.environment
        let first = environment["MILLRACE_SIM_FIRST"].flatMap(UInt64.init) ?? 1
        return first..<(first + (environment["MILLRACE_SIM_SEEDS"].flatMap(UInt64.init) ?? 40))
    }()

    @Test(arguments: seeds) func everyHistoryEndsWell(_ seed: UInt64) async throws {
        let simulation = try Simulation(seed: seed)
        for _ in 0..<150 {
            await simulation.step()
            if let problem = simulation.safetyProblem() {
                Issue.record("seed \(seed): \(problem)\n\(simulation.story())")
                return
            }
        }
        await simulation.finish()
        for problem in simulation.problems() {
            Issue.record("seed \(seed): \(problem)\n\(simulation.story())")
        }
        simulation.server.stop()
    }
}
