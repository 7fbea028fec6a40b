import FoundationEssentials
import Testing

@testable import Warming

/// Random histories, the same for the same seed. In the end everything must be as it should be, and some things must hold
/// all the time.
@Suite struct SimulationTests {
    /// More for a longer run: MILLRACE_SIM_SEEDS=10000, from MILLRACE_SIM_FIRST on.
    static let seeds: Range<UInt64> = {
        let environment = ProcessInfo.processInfo.environment
        let first = environment["MILLRACE_SIM_FIRST"].flatMap(UInt64.init) ?? 1
        return first..<(first + (environment["MILLRACE_SIM_SEEDS"].flatMap(UInt64.init) ?? 40))
    }()

    @Test("V5, V13: nodes come and go, nothing is left after a deletion", arguments: seeds)
    func everyHistoryEndsWell(_ seed: UInt64) async throws {
        let simulation = try Simulation(seed: seed)
        defer { simulation.server.stop() }
        for _ in 0..<200 {
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
    }
}
