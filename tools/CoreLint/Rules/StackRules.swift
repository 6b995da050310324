// SPDX-License-Identifier: Apache-2.0

/// The core's stack is small, has no probes and ends in a guard page: every frame, every chain
/// of calls and every cycle is known before it runs.
struct StackRules {
    private let disassembly: Disassembly
    private let profiles: [StackProfile]

    init(_ disassembly: Disassembly) {
        self.disassembly = disassembly
        let functions = disassembly.functions
        profiles = functions.indices.map { index in
            StackProfile(
                of: functions[index], following: index + 1 < functions.count ? functions[index + 1] : nil)
        }
    }

    /// Returns the chain of calls, from each entry of the image, that takes the most stack.
    func check(_ ledger: inout Ledger) -> [StackChain] {
        checkFrames(&ledger)
        let graph = makeGraph(&ledger)
        for cycle in graph.recursions() { reportRecursion(cycle, &ledger) }
        let chains = graph.deepestChains()
        checkListedStacks(chains, &ledger)
        let entries = graph.entryChains(chains)
        for chain in entries { checkDepth(chain, &ledger) }
        return entries.map(stackChain).sorted { $0.bytes > $1.bytes }
    }

    /// Functions that the allow file gives a stack of another size, such as interrupt stacks.
    private func checkListedStacks(_ chains: [CallGraph.Chain], _ ledger: inout Ledger) {
        for chain in chains {
            let function = disassembly.functions[chain.path[0]]
            for entry in ledger.entries(.stack, where: { $0.covers(function) }) {
                check(chain, limit: Int(entry.detail) ?? 0, &ledger)
            }
        }
    }

    private func checkDepth(_ chain: CallGraph.Chain, _ ledger: inout Ledger) {
        let function = disassembly.functions[chain.path[0]]
        guard ledger.entries(.stack, where: { $0.covers(function) }).isEmpty else { return }
        check(chain, limit: ledger.allow.stackLimit, &ledger)
    }

    private func check(_ chain: CallGraph.Chain, limit: Int, _ ledger: inout Ledger) {
        guard chain.bytes > limit else { return }
        ledger.report(
            Finding(
                .depth, "\(stackChain(chain)) exceeds the limit of \(limit) bytes",
                remedy: "shorten the chain or make its largest frames smaller"))
    }

    private func stackChain(_ chain: CallGraph.Chain) -> StackChain {
        StackChain(bytes: chain.bytes, functions: chain.path.map { disassembly.functions[$0].name })
    }

    private func reportRecursion(_ cycle: [Int], _ ledger: inout Ledger) {
        let names = cycle.map { disassembly.functions[$0].name }
        ledger.report(
            Finding(
                .recursion, in: cycle.first.map { disassembly.functions[$0] },
                "calls come back: \(names.joined(separator: " > "))",
                remedy: "write it as a loop; the stack's depth must not depend on data"))
    }

    // MARK: Frames

    private func checkFrames(_ ledger: inout Ledger) {
        for (function, profile) in zip(disassembly.functions, profiles) {
            checkSize(of: function, profile, &ledger)
            for (address, problem) in profile.problems {
                report(problem, at: address, function, &ledger)
            }
        }
    }

    private func checkSize(of function: Function, _ profile: StackProfile, _ ledger: inout Ledger) {
        let limit = ledger.allow.frameLimit
        guard profile.frame > limit else { return }
        let raised = ledger.entries(.frame) { $0.covers(function) }.compactMap { Int($0.detail) }.max()
        guard profile.frame > raised ?? limit else { return }
        ledger.report(
            Finding(
                .frame, in: function, at: function.address,
                "frame of \(profile.frame) bytes, the limit is \(raised ?? limit)",
                remedy: "keep large values (InlineArray) out of locals, or list `frame \(profile.frame)`"))
    }

    private func report(
        _ problem: StackProfile.Problem, at address: UInt64, _ function: Function, _ ledger: inout Ledger
    ) {
        let kind: AllowList.Kind = problem == .stackSwitch ? .stackSwitch : .unbounded
        guard !ledger.excuses(kind, function) else { return }
        let (what, remedy) = Self.explanation(problem)
        ledger.report(Finding(.frame, in: function, at: address, what, remedy: remedy))
    }

    private static func explanation(_ problem: StackProfile.Problem) -> (what: String, remedy: String) {
        switch problem {
        case .unknownSize:
            (
                "moves RSP by an amount that is not in the code",
                "allocate nothing of variable size on the stack"
            )
        case .growsInLoop: ("pushes in a loop", "balance pushes and pops on every path")
        case .stackSwitch:
            (
                "loads RSP with another stack",
                "leave that to the world switch, or list the function as `stack-switch`"
            )
        }
    }

    // MARK: The call graph

    private func makeGraph(_ ledger: inout Ledger) -> CallGraph {
        let edges = profiles.indices.map { caller in
            profiles[caller].departures.flatMap { self.edges(of: caller, $0, &ledger) }
        }
        return CallGraph(frames: profiles.map(\.frame), edges: edges)
    }

    private func edges(
        of caller: Int, _ departure: StackProfile.Departure, _ ledger: inout Ledger
    ) -> [CallGraph.Edge] {
        let function = disassembly.functions[caller]
        // A raw indirect branch is InstructionRules' finding.
        guard let target = departure.target else {
            return listedEdges(of: function, departure, &ledger)
        }
        guard let callee = disassembly.functionIndex(containing: target) else {
            ledger.report(
                Finding(
                    .undefined, in: function, at: departure.address,
                    "goes to 0x\(String(target, radix: 16)), where no function is",
                    remedy: "define the symbol in the image; a weak reference is no way out"))
            return []
        }
        let edge = Self.edge(to: callee, departure)
        guard disassembly.functions[callee].isRetpolineThunk else { return [edge] }
        let listed = listedEdges(of: function, departure, &ledger)
        if listed.isEmpty {
            ledger.report(
                Finding(
                    .indirectBranch, in: function, at: departure.address,
                    "calls through a pointer, and nothing says what it may reach",
                    remedy: "call directly, or list the targets as `indirect-target CALLER -> CALLEE`"))
        }
        return [edge] + listed
    }

    /// Where the allow file says that the function's indirect branches may go.
    private func listedEdges(
        of caller: Function, _ departure: StackProfile.Departure, _ ledger: inout Ledger
    ) -> [CallGraph.Edge] {
        let listed = ledger.entries(.indirectTarget) { $0.covers(caller) }
        return disassembly.functions.indices.filter { index in
            let callee = disassembly.functions[index]
            return listed.contains {
                glob($0.detail, matches: callee.name) || glob($0.detail, matches: callee.symbol)
            }
        }.map { Self.edge(to: $0, departure) }
    }

    private static func edge(to target: Int, _ departure: StackProfile.Departure) -> CallGraph.Edge {
        CallGraph.Edge(target: target, cost: departure.depth, startsStack: departure.isOnNewStack)
    }
}

/// A chain of calls and the stack bytes that it takes, return addresses included.
public struct StackChain: Equatable, Sendable, CustomStringConvertible {
    public let bytes: Int
    public let functions: [String]
    public var description: String { "\(bytes) bytes: \(functions.joined(separator: " > "))" }
}
