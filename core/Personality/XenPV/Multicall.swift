// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// multicall: an array of calls, done in order, each with its result beside it. The array's
// address and count advance in the guest's registers from call to call; a call that is left
// in its middle leaves its own progress in its entry of the array. The guest executes the
// `syscall` again until the count is zero.

import CPenumbra

/// One call (public/xen.h, struct multicall_entry): number, result, six arguments.
private struct MulticallEntry {
    var number: UInt64 = 0
    var result: UInt64 = 0
    var arguments = CallArguments()
    var sixth: UInt64 = 0

    static var size: UInt64 { 64 }
    static var resultOffset: UInt64 { 8 }
    static var argumentsOffset: UInt64 { 16 }

    /// How much of a slice the call may take.
    var items: UInt64 {
        switch number {
        case Hypercall.mmuUpdate, Hypercall.mmuExtended: max(arguments.second & 0xffff_ffff, 1)
        case Hypercall.memoryOperation: sliceItems
        default: 1
        }
    }
}

extension XenPV {
    static func multicall(_ vcpu: VCPU, _ arguments: CallArguments) -> Continuation {
        var rest = arguments
        var left = min(rest.second & 0xffff_ffff, sliceItems)
        let began = vcpu.memory.removals
        while left > 0, !vcpu.memory.hasUsedSlice(since: began) {
            var entry = MulticallEntry()
            let read = vcpu.copyIn(&entry, from: GuestVirtual(rest.first))
            guard case .done = read else { return end(Answer(read), vcpu, rest) }
            let items = entry.items
            let answer = operateOne(vcpu, entry.number, &entry.arguments)
            guard case .value(let value) = answer else {
                return interrupt(vcpu, answer, entry.arguments, rest)
            }
            let stored = store(value, vcpu, rest)
            guard case .done = stored else { return end(Answer(stored), vcpu, rest) }
            rest.first &+= MulticallEntry.size
            rest.second &-= 1
            left = left > items ? left - items : 0
        }
        return end(rest.second & 0xffff_ffff == 0 ? .value(0) : .slice, vcpu, rest)
    }

    /// A function of its own: its frame is not this loop's.
    @inline(never)
    private static func operateOne(
        _ vcpu: VCPU, _ number: UInt64, _ arguments: inout CallArguments
    ) -> Answer {
        operate(vcpu, number, &arguments)
    }

    @inline(__always)
    private static func store(_ value: UInt64, _ vcpu: VCPU, _ rest: CallArguments) -> MemoryStatus {
        var value = value
        return vcpu.copyOut(
            &value, to: GuestVirtual(rest.first &+ MulticallEntry.resultOffset), bytes: 8)
    }

    /// A call that cannot go on now, or that has done all and leaves something to the module.
    @inline(never)
    private static func interrupt(
        _ vcpu: VCPU, _ answer: Answer, _ progress: CallArguments, _ rest: CallArguments
    ) -> Continuation {
        var rest = rest
        var progress = progress
        if case .leave(let value, let reason, let argument) = answer {
            let stored = store(value, vcpu, rest)
            guard case .done = stored else {
                return end(unstored(stored, reason, argument), vcpu, rest)
            }
            rest.first &+= MulticallEntry.size
            rest.second &-= 1
            vcpu.arguments = rest
            vcpu.frame.rip &-= 2
            return vcpu.leave(reason, argument)
        }
        let place = GuestVirtual(rest.first &+ MulticallEntry.argumentsOffset)
        let stored = vcpu.copyOut(&progress, to: place, bytes: 40)
        guard case .done = stored else {
            return end(unstored(stored, PENUMBRA_EXIT_SLICE, 0), vcpu, rest)
        }
        return end(answer, vcpu, rest)
    }

    /// The answer for a call whose result or progress cannot be stored. What it left to the module is due
    /// all the same: a new LDT, for one, is loaded on the next way in.
    private static func unstored(_ status: MemoryStatus, _ reason: Int32, _ argument: UInt64) -> Answer {
        guard case .value(let value) = Answer(status) else { return Answer(status) }
        return .leave(value: value, reason: reason, argument: argument)
    }
}
