// SPDX-License-Identifier: Apache-2.0

/// Who calls whom, and how deep the stack gets.
struct CallGraph {
    struct Edge {
        let target: Int
        /// Stack bytes between the caller's entry and the callee's.
        let cost: Int
        /// The caller has left its own caller's stack: nothing above it adds to the depth.
        let startsStack: Bool
    }

    /// A chain of calls and the stack that it takes.
    struct Chain: Equatable {
        var bytes: Int
        var path: [Int]
    }

    private let frames: [Int]
    /// Calls and jumps on the caller's stack.
    private let edges: [[Edge]]
    /// Those on a stack that the caller switched to.
    private let stackStarts: [[Edge]]
    /// Strongly connected components, callees before callers.
    private let components: [[Int]]
    private let componentOf: [Int]

    init(frames: [Int], edges: [[Edge]]) {
        self.frames = frames
        self.edges = edges.map { $0.filter { !$0.startsStack } }
        stackStarts = edges.map { $0.filter(\.startsStack) }
        var search = ComponentSearch(successors: self.edges.map { $0.map(\.target) })
        components = search.run()
        var componentOf = Array(repeating: 0, count: frames.count)
        for (number, members) in components.enumerated() {
            for member in members { componentOf[member] = number }
        }
        self.componentOf = componentOf
    }

    /// Cycles in which the stack grows; a cycle of plain jumps is a loop, not recursion.
    func recursions() -> [[Int]] {
        components.enumerated().compactMap { number, members in
            let grows = members.contains { member in
                edges[member].contains { componentOf[$0.target] == number && $0.cost > 0 }
            }
            return grows ? cycle(in: number) : nil
        }
    }

    /// One concrete cycle through a component's first growing edge, for people to read.
    private func cycle(in number: Int) -> [Int] {
        let members = components[number].sorted()
        for start in members {
            for edge in edges[start] where componentOf[edge.target] == number && edge.cost > 0 {
                return [start] + path(from: edge.target, to: start, within: number)
            }
        }
        return members
    }

    /// Breadth-first, so the shortest one.
    private func path(from start: Int, to end: Int, within number: Int) -> [Int] {
        var previous: [Int: Int] = [:]
        var queue = [start]
        var visited: Set<Int> = [start]
        while !queue.isEmpty && !visited.contains(end) {
            let node = queue.removeFirst()
            for edge in edges[node] where componentOf[edge.target] == number {
                guard visited.insert(edge.target).inserted else { continue }
                previous[edge.target] = node
                queue.append(edge.target)
            }
        }
        var path = [end]
        while let node = path.first, node != start, let before = previous[node] { path.insert(before, at: 0) }
        return path
    }

    /// The deepest chain from every function. Edges inside a component count once: whoever
    /// asks has refused recursion before.
    func deepestChains() -> [Chain] {
        var chains = frames.indices.map { Chain(bytes: frames[$0], path: [$0]) }
        for (number, members) in components.enumerated() {
            for member in members {
                for edge in edges[member] where componentOf[edge.target] != number {
                    extend(&chains[member], from: member, by: edge, chains[edge.target])
                }
            }
            share(members, number, &chains)
        }
        return chains
    }

    /// Members of a loop of jumps reach what any of them reaches.
    private func share(_ members: [Int], _ number: Int, _ chains: inout [Chain]) {
        guard members.count > 1, let best = members.max(by: { chains[$0].bytes < chains[$1].bytes }) else {
            return
        }
        for member in members where member != best && chains[member].bytes < chains[best].bytes {
            chains[member] = Chain(bytes: chains[best].bytes, path: [member] + chains[best].path)
        }
    }

    private func extend(_ chain: inout Chain, from caller: Int, by edge: Edge, _ callee: Chain) {
        let bytes = edge.cost + callee.bytes
        if bytes > chain.bytes { chain = Chain(bytes: bytes, path: [caller] + callee.path) }
    }

    /// The chains that start a stack: of each component that nothing else calls or jumps to, the
    /// deepest, and what follows each switch of stacks.
    func entryChains(_ chains: [Chain]) -> [Chain] {
        var called: Set<Int> = []
        for caller in frames.indices {
            called.formUnion(
                (edges[caller] + stackStarts[caller]).map { componentOf[$0.target] }
                    .filter { $0 != componentOf[caller] })
        }
        let entries = components.indices.filter { !called.contains($0) }.compactMap { number in
            components[number].map { chains[$0] }.max { $0.bytes < $1.bytes }
        }
        let switched = stackStarts.enumerated().flatMap { caller, list in
            list.map { edge in
                Chain(
                    bytes: edge.cost + chains[edge.target].bytes, path: [caller] + chains[edge.target].path)
            }
        }
        return entries + switched
    }
}

/// Tarjan's strongly connected components (SIAM J. Comput. 1, 1972): a depth-first search
/// that numbers nodes; a node that reaches no lower number than its own closes a component.
private struct ComponentSearch {
    private let successors: [[Int]]
    private var number: [Int?]
    private var lowest: [Int]
    private var stack: [Int] = []
    private var onStack: Set<Int> = []
    private var counter = 0
    private var components: [[Int]] = []

    init(successors: [[Int]]) {
        self.successors = successors
        number = Array(repeating: nil, count: successors.count)
        lowest = Array(repeating: 0, count: successors.count)
    }

    mutating func run() -> [[Int]] {
        for node in successors.indices where number[node] == nil { visit(node) }
        return components
    }

    private mutating func visit(_ node: Int) {
        number[node] = counter
        lowest[node] = counter
        counter += 1
        stack.append(node)
        onStack.insert(node)
        for next in successors[node] {
            if number[next] == nil {
                visit(next)
                lowest[node] = min(lowest[node], lowest[next])
            } else if onStack.contains(next) {
                lowest[node] = min(lowest[node], number[next] ?? 0)
            }
        }
        if lowest[node] == number[node] { close(node) }
    }

    private mutating func close(_ node: Int) {
        var members: [Int] = []
        while let member = stack.popLast() {
            onStack.remove(member)
            members.append(member)
            if member == node { break }
        }
        components.append(members)
    }
}
