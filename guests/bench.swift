// SPDX-License-Identifier: Apache-2.0
// What the core's operations cost. One line each:
//
//      bench <name> <ticks> <core entries> <CR3 loads> <full flushes> <page flushes>
//            <page faults> <world switches>
//
// all per operation: TSC ticks, and the others in thousandths. Under QEMU's `-icount shift=0` a
// tick is an instruction. What the loop and its arguments take is off; the instruction that
// enters the core is not. Of several rounds the quietest counts: the host's own interrupts
// are no part of an operation. See docs/performance.md.
// Expect: exit 0
import CKit

let rounds = 12
let callsPerRound: UInt64 = 256
/// The tables of the pages that are touched, each with its 512 entries.
let area = testArea
let tableSpan: UInt64 = 512 * pageSize
let tables: UInt64 = 32

/// What the core counted.
struct Counts {
    var entries = counter(PENUMBRA_COUNTER_core_entries)
    var fastSwitches = counter(PENUMBRA_COUNTER_fast_syscalls) + counter(PENUMBRA_COUNTER_fast_irets)
    var flushes = counter(PENUMBRA_COUNTER_tlb_flushes)
    var pageFlushes = counter(PENUMBRA_COUNTER_page_flushes)
    var faults = counter(PENUMBRA_COUNTER_page_faults)
    var worlds = counter(PENUMBRA_COUNTER_world_entries)

    static func - (now: Counts, then: Counts) -> Counts {
        var difference = now
        difference.entries -= then.entries
        difference.fastSwitches -= then.fastSwitches
        difference.flushes -= then.flushes
        difference.pageFlushes -= then.pageFlushes
        difference.faults -= then.faults
        difference.worlds -= then.worlds
        return difference
    }
}

struct Operation {
    let name: StaticString
    /// How often a round does it.
    let count: UInt64
    /// Ticks of the same loop without it.
    var loop: UInt64 = 0
    /// CR3 loads beyond those of direct switching, flushes and world switches, per operation.
    var extraRootLoads: UInt64 = 0

    /// Does `round` several times and reports the quietest. `prepare` is not measured.
    func measure(prepare: () -> Void = {}, round: () -> UInt64) {
        var best = UInt64.max
        var counts = Counts()
        for _ in 0..<rounds {
            prepare()
            let before = Counts()
            let ticks = round()
            let after = Counts()
            if ticks < best {
                best = ticks
                counts = after - before
            }
        }
        // Reading the counters is hypercalls, which are entries themselves.
        let reading = Counts()
        counts.entries -= (Counts() - reading).entries
        report(best, counts)
    }

    private func report(_ ticks: UInt64, _ counts: Counts) {
        // Two loads on the way in, host to bridge to guest, and two on the way out.
        let rootLoads = counts.fastSwitches + counts.flushes + 4 * counts.worlds + extraRootLoads * count
        put("bench ")
        put(name)
        put(" ")
        put(decimal: (ticks - min(loop, ticks) + count / 2) / count)
        thousandths(counts.entries)
        thousandths(rootLoads)
        thousandths(counts.flushes)
        thousandths(counts.pageFlushes)
        thousandths(counts.faults)
        thousandths(counts.worlds)
        endLine()
    }

    private func thousandths(_ value: UInt64) {
        put(" ")
        put(decimal: (value * 1000 + count / 2) / count)
    }
}

@_cdecl("guest_main")
func guestMain() {
    calls()
    let frames = populate()
    faults(frames)
    updates(frames)
    outside()
    userMode()
}

// MARK: calls

func call(
    _ number: Int32, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0, toggleA: UInt64 = 0,
    toggleB: UInt64 = 0
) -> kit_calls {
    kit_calls(number: UInt64(number), a: a, b: b, c: c, toggle_a: toggleA, toggle_b: toggleB, stored: 0)
}

/// Ticks of a loop of calls without the call.
func callLoop(_ count: UInt64) -> UInt64 {
    var nothing = call(PTEST_NOOP)
    return kit_time_no_calls(&nothing, count)
}

func measure(_ name: StaticString, _ call: kit_calls, itemsPerCall: UInt64 = 1) {
    var call = call
    let operation = Operation(
        name: name, count: callsPerRound * itemsPerCall, loop: callLoop(callsPerRound))
    operation.measure { kit_time_calls(&call, callsPerRound) }
}

func calls() {
    measure("call", call(PTEST_NOOP))
    setBreakpointHandler()
    var nothing = call(PTEST_NOOP)
    Operation(name: "exception-kernel", count: callsPerRound, loop: callLoop(callsPerRound)).measure {
        kit_time_breakpoints(&nothing, callsPerRound)
    }
}

/// #BP comes back at once: its frame is a system call's, and so is the shortest way back.
func setBreakpointHandler() {
    let handler = kit_function_address(kit_syscall_fast_entry)
    equal(
        hypercall(PTEST_SET_HANDLER, 3, handler, UInt64(PTEST_GATE_USER)), 0, "set the handler of #BP")
}

// MARK: faults

/// Frames that the host has given and that no shadow maps: mapped once, touched, unmapped.
func populate() -> UInt64 {
    let first = Frames.allocate(512)
    for index: UInt64 in 0..<512 {
        Tables.map(vm.root_frame, page(index), first + index)
        _ = kit_load64(page(index))
    }
    unmapAll()
    return first
}

func page(_ index: UInt64) -> UInt64 { area + index * pageSize }

func unmapAll() {
    for index: UInt64 in 0..<512 {
        equal(updateVA(page(index), 0), 0, "unmap")
    }
    flush(.local)
}

/// Entries stored natively: the core derives them only when a page is touched.
func storeEntries(_ frames: UInt64, _ flags: UInt64) {
    unmapAll()
    let table = Tables.entry(vm.root_frame, area)
    for index: UInt64 in 0..<512 {
        kit_store64(table + index * 8, Entry.make(frames + index, Entry.all | flags))
    }
    flush(.local)
    _ = kit_load64(area)
}

func faults(_ frames: UInt64) {
    let loop = kit_time_no_accesses(area, pageSize, 511)
    let both = Entry.accessed | Entry.dirty
    Operation(name: "fault+fill", count: 511, loop: loop).measure {
        storeEntries(frames, both)
    } round: {
        kit_time_loads(area + pageSize, pageSize, 511)
    }
    Operation(name: "fault+accessed", count: 511, loop: loop).measure {
        storeEntries(frames, 0)
    } round: {
        kit_time_loads(area + pageSize, pageSize, 511)
    }
    Operation(name: "fault+dirty", count: 511, loop: loop).measure {
        storeEntries(frames, Entry.accessed)
        _ = kit_time_loads(area + pageSize, pageSize, 511)
    } round: {
        kit_time_stores(area + pageSize, pageSize, 511)
    }
    secondMapping(frames, loop)
    newTables(frames)
}

/// The same frames as in the direct map of an operating system: each is mapped there already.
func secondMapping(_ frames: UInt64, _ loop: UInt64) {
    _ = kit_time_loads(kit_direct_map + frames << 12, pageSize, 512)
    Operation(name: "fault+fill-second", count: 511, loop: loop).measure {
        storeEntries(frames, Entry.accessed | Entry.dirty)
    } round: {
        kit_time_loads(area + pageSize, pageSize, 511)
    }
}

/// The first touch under a table, which needs a shadow page.
func newTables(_ frames: UInt64) {
    let first = area + tableSpan
    for index in 0..<tables {
        let entry = Entry.make(frames + index, Entry.all | Entry.accessed | Entry.dirty)
        equal(update(Tables.entry(vm.root_frame, first + index * tableSpan), entry), 0, "map a page")
    }
    let loop = kit_time_no_accesses(first, tableSpan, tables)
    Operation(name: "fault+fill-table", count: tables, loop: loop).measure {
        for index in 0..<tables {
            let table = Tables.entry(vm.root_frame, first + index * tableSpan) >> 12
            equal(hypercall(PTEST_DROP_FRAME, table), 0, "drop the shadows of a table")
        }
        flush(.local)
    } round: {
        kit_time_loads(first, tableSpan, tables)
    }
}

// MARK: updates

func updates(_ frames: UInt64) {
    let value = Entry.make(frames, Entry.all | Entry.accessed | Entry.dirty)
    storeEntries(frames, Entry.accessed | Entry.dirty)
    measure(
        "update", call(PTEST_UPDATE_VA, area, value, 0, toggleB: Entry.writable))
    measure(
        "update+flush",
        call(PTEST_UPDATE_VA, area, value, Flush.page.rawValue, toggleB: Entry.writable))
    measure(
        "unmap+map+flush",
        call(PTEST_UPDATE_VA, area, value, Flush.page.rawValue, toggleB: value))
    measure("flush-page", call(PTEST_FLUSH, Flush.page.rawValue, area))
    measure("flush-all", call(PTEST_FLUSH, Flush.local.rawValue))
    batch(frames)
    nativeStore(value)
}

/// 64 entries a call, from two lists by turns that differ in W.
func batch(_ frames: UInt64) {
    let lists = (Frames.allocate(3) + 1) & ~1
    let table = Tables.entry(vm.root_frame, area)
    for index: UInt64 in 0..<64 {
        let value = Entry.make(frames + index, Entry.all | Entry.accessed | Entry.dirty)
        for list: UInt64 in 0..<2 {
            let pair = (lists + list) << 12 + index * 16
            kit_store64(pair, table + index * 8)
            kit_store64(pair + 8, value ^ list * Entry.writable)
        }
    }
    measure(
        "update-of-64", call(PTEST_UPDATE, lists << 12, 64, 0, toggleA: pageSize), itemsPerCall: 64)
}

/// What Linux does to a table that it has not pinned: store natively, then flush the page. The
/// store faults since the table is watched; the flush derives the table's entries again.
func nativeStore(_ value: UInt64) {
    unmapAll()
    let entry = Tables.entry(vm.root_frame, area)
    equal(update(entry, value), 0, "map a page")
    var store = call(PTEST_FLUSH, Flush.page.rawValue, area, entry)
    store.stored = value
    let operation = Operation(name: "store+flush", count: callsPerRound, loop: callLoop(callsPerRound))
    operation.measure { kit_time_stores_and_calls(&store, callsPerRound) }
}

// MARK: the host

func outside() {
    measure("exit", call(PTEST_YIELD))
    measure("request", call(PTEST_REQUEST, 1, 2))
}

// MARK: user mode

/// User code reads the TSC itself and leaves by an exception, since the kernel's handler of
/// system calls is the shortest possible and comes back at once.
func userMode() {
    makeUserRoot()
    equal(
        hypercall(
            PTEST_SET_CALLBACK, UInt64(PTEST_CALLBACK_SYSCALL),
            kit_function_address(kit_syscall_fast_entry)), 0, "system call callback")
    setTrapHandler(6) { _ in
        kit_user_leave(kit_load64(kit_stack_area(0)), kit_cpu_at(0)!.pointee.user_call_stack)
    }
    Info.mask = false
    let loop = callLoop(callsPerRound)
    Operation(name: "user-kernel-user", count: callsPerRound, loop: loop).measure {
        inUserMode { result, count, _, _ in
            var nothing = call(KIT_SYSCALL_NEXT)
            kit_store64(result, kit_time_calls(&nothing, count))
            kit_trap_now()
            return 0
        }
    }
    Operation(name: "exception-user", count: callsPerRound, loop: loop, extraRootLoads: 1).measure {
        inUserMode { result, count, _, _ in
            var nothing = call(KIT_SYSCALL_NEXT)
            kit_store64(result, kit_time_breakpoints(&nothing, count))
            kit_trap_now()
            return 0
        }
    }
    Info.mask = true
}

func inUserMode(_ function: UserFunction) -> UInt64 {
    callUser(function, kit_stack_area(0), callsPerRound)
}
