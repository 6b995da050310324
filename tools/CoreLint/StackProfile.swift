// SPDX-License-Identifier: Apache-2.0

/// How one function uses the stack, found by following its control flow from the first
/// instruction with the distance of RSP from where it stood on entry.
///
/// RBP is followed as well (`mov %rsp, %rbp` ... `leave`), because frame pointers are how
/// compiled code gives a frame back. A join is visited again only with a deeper stack. Code
/// that nothing in the function leads to, such as the second of a row of interrupt stubs or a
/// fix-up, is followed from where it stands as if it were another entry.
struct StackProfile {
    /// A call, or a jump that leaves the function.
    struct Departure: Equatable {
        let address: UInt64
        /// nil: through a register or memory.
        let target: UInt64?
        let isCall: Bool
        /// Bytes below the function's own entry, the callee's return address included.
        let depth: Int
        /// RSP was loaded with another stack before; `depth` counts from its top.
        let isOnNewStack: Bool
    }

    enum Problem: Equatable {
        case unknownSize
        case stackSwitch
        case growsInLoop
    }

    /// The deepest point in bytes, the return address not counted.
    private(set) var frame = 0
    private(set) var departures: [Departure] = []
    private(set) var problems: [(address: UInt64, problem: Problem)] = []

    private struct State {
        var depth = 0
        var framePointer: Int?
        var isOnNewStack = false
    }

    /// No frame may come near this; reaching it means a loop that pushes.
    private static let runaway = 1 << 16

    private let function: Function
    private let indexByAddress: [UInt64: Int]
    /// What each instruction was visited with: on the caller's stack, and on a new one.
    private var deepest: [Bool: [Int: Int]] = [:]
    /// After the last instruction, where it is reached.
    private var stateAtEnd: State?

    init(of function: Function, following next: Function?) {
        self.function = function
        indexByAddress = Dictionary(
            function.instructions.enumerated().map { ($1.address, $0) },
            uniquingKeysWith: { first, _ in first })
        for index in function.instructions.indices where !isVisited(index) {
            if index == 0 || !function.instructions[index].isPadding { follow(from: index) }
        }
        addFallThrough(to: next)
        departures.sort { ($0.address, $0.depth) < ($1.address, $1.depth) }
    }

    private func isVisited(_ index: Int) -> Bool {
        deepest.values.contains { $0[index] != nil }
    }

    private mutating func follow(from start: Int) {
        var work: [(index: Int, state: State)] = [(start, State())]
        while let (index, state) = work.popLast() {
            if let known = deepest[state.isOnNewStack]?[index], known >= state.depth { continue }
            if state.depth > Self.runaway {
                note(.growsInLoop, at: function.instructions[index])
                frame = 0
                return
            }
            deepest[state.isOnNewStack, default: [:]][index] = state.depth
            work += successors(of: index, state)
        }
    }

    private mutating func successors(of index: Int, _ before: State) -> [(index: Int, state: State)] {
        let instruction = function.instructions[index]
        var after = before
        apply(instruction, at: index, to: &after)
        frame = max(frame, after.depth)
        if index == function.instructions.count - 1 { stateAtEnd = after }
        var next: [(index: Int, state: State)] = []
        if !instruction.endsFlow && index + 1 < function.instructions.count {
            next.append((index + 1, after))
        }
        if instruction.isCall || instruction.isJump {
            if let inside = follow(branch: instruction, after) { next.append(inside) }
        }
        return next
    }

    /// A branch goes on inside the function, or departs. `call` to a label inside is how a
    /// retpoline puts an address on the stack.
    private mutating func follow(
        branch instruction: Instruction, _ state: State
    ) -> (index: Int, state: State)? {
        let pushed = instruction.isCall ? 8 : 0
        let target = instruction.branchTarget
        if let target, let inside = indexByAddress[target], !(instruction.isCall && inside == 0) {
            var state = state
            state.depth += pushed
            frame = max(frame, state.depth)
            return (inside, state)
        }
        departures.removeAll {
            $0.address == instruction.address && $0.isOnNewStack == state.isOnNewStack
        }
        depart(from: instruction, to: target, state, pushed: pushed)
        return nil
    }

    /// Assembly may run from one symbol into the next. A call at the very end does not: the
    /// compiler puts one there when the callee never returns.
    private mutating func addFallThrough(to next: Function?) {
        guard let next, next.section == function.section, let last = function.instructions.last,
            let state = stateAtEnd, !last.endsFlow, !last.isCall
        else { return }
        depart(from: last, to: next.address, state, pushed: 0)
    }

    private mutating func depart(
        from instruction: Instruction, to target: UInt64?, _ state: State, pushed: Int
    ) {
        departures.append(
            Departure(
                address: instruction.address, target: target, isCall: instruction.isCall,
                depth: max(0, state.depth) + pushed, isOnNewStack: state.isOnNewStack))
    }

    private mutating func note(_ problem: Problem, at instruction: Instruction) {
        if !problems.contains(where: { $0.address == instruction.address && $0.problem == problem }) {
            problems.append((instruction.address, problem))
        }
    }
}

// MARK: - What an instruction does to RSP and RBP

extension StackProfile {
    private mutating func apply(_ instruction: Instruction, at index: Int, to state: inout State) {
        let mnemonic = instruction.mnemonic
        let size = mnemonic.hasSuffix("w") ? 2 : 8
        if mnemonic.hasPrefix("push") {
            state.depth += size
        } else if mnemonic.hasPrefix("leave") {
            leave(instruction, &state)
        } else if mnemonic.hasPrefix("pop"), !mnemonic.hasPrefix("popcnt") {
            pop(instruction, size: size, &state)
        } else if Self.writes("%rsp", instruction) {
            writeStackPointer(instruction, at: index, &state)
        } else if Self.writes("%rbp", instruction) || Self.writes("%ebp", instruction) {
            let isFrame = mnemonic.hasPrefix("mov") && instruction.operandList.first == "%rsp"
            state.framePointer = isFrame ? state.depth : nil
        }
    }

    private static func writes(_ register: String, _ instruction: Instruction) -> Bool {
        let mnemonic = instruction.mnemonic
        if mnemonic.hasPrefix("cmp") && !mnemonic.hasPrefix("cmpxchg") { return false }
        if mnemonic.hasPrefix("test") || mnemonic.hasPrefix("bt") && mnemonic.count == 3 { return false }
        if mnemonic.hasPrefix("xchg") { return instruction.operandList.contains(register) }
        return instruction.destination == register
    }

    private mutating func leave(_ instruction: Instruction, _ state: inout State) {
        guard let base = state.framePointer else {
            note(.unknownSize, at: instruction)
            return
        }
        state.depth = base - 8
        state.framePointer = nil
    }

    private mutating func pop(_ instruction: Instruction, size: Int, _ state: inout State) {
        state.depth -= size
        if instruction.destination == "%rsp" { switchStack(instruction, &state) }
        if instruction.destination == "%rbp" { state.framePointer = nil }
    }

    private mutating func writeStackPointer(
        _ instruction: Instruction, at index: Int, _ state: inout State
    ) {
        let source = instruction.operandList.first ?? ""
        switch instruction.mnemonic.prefix(3) {
        case "sub": grow(by: amount(instruction, at: index), instruction, &state)
        case "add": grow(by: amount(instruction, at: index).map { -$0 }, instruction, &state)
        case "and": align(instruction, &state)
        case "lea": loadAddress(source, instruction, &state)
        case "mov" where source == "%rbp" && state.framePointer != nil:
            state.depth = state.framePointer ?? 0
        default: switchStack(instruction, &state)
        }
    }

    private mutating func grow(by amount: Int?, _ instruction: Instruction, _ state: inout State) {
        guard let amount else {
            note(.unknownSize, at: instruction)
            return
        }
        state.depth += amount
    }

    /// The immediate, or what a `mov $N` just before put into the register: compilers do that
    /// for frames above 2 GiB, assembly at will.
    private func amount(_ instruction: Instruction, at index: Int) -> Int? {
        if let immediate = instruction.immediate { return Int(immediate) }
        let register = instruction.operandList.first?.dropFirst(2) ?? ""
        for previous in function.instructions[..<index].reversed().prefix(4)
        where previous.destination.dropFirst(2) == register {
            guard previous.mnemonic.hasPrefix("mov"), let value = previous.immediate else { return nil }
            return Int(value)
        }
        return nil
    }

    /// `and $-64, %rsp` gives away up to 64 - 8 bytes.
    private mutating func align(_ instruction: Instruction, _ state: inout State) {
        guard let mask = instruction.immediate, mask < 0 else {
            note(.unknownSize, at: instruction)
            return
        }
        state.depth += max(0, Int(-mask) - 8)
    }

    private mutating func loadAddress(_ source: String, _ instruction: Instruction, _ state: inout State) {
        let offset = Int64(signedLiteral: source.prefix { $0 != "(" }) ?? 0
        if source.hasSuffix("(%rsp)") {
            state.depth -= Int(offset)
        } else if source.hasSuffix("(%rbp)"), let base = state.framePointer {
            state.depth = base - Int(offset)
        } else {
            switchStack(instruction, &state)
        }
    }

    private mutating func switchStack(_ instruction: Instruction, _ state: inout State) {
        note(.stackSwitch, at: instruction)
        state = State(isOnNewStack: true)
    }
}
