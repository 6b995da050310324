// SPDX-License-Identifier: Apache-2.0
// The U bit between two modes that both run in ring 3: pages with U=0 at any level are the
// guest kernel's alone; user code faults on them with exact error codes, however often the
// modes alternate; and the kernel itself may live in U=0 pages.
// Attack: page tables
// Expect: exit 0
import CKit

let address = testArea + 0x2_4680_0000

@_cdecl("guest_main")
func guestMain() {
    let frame = Frames.allocate()
    kit_store64(frame << 12, 0x5ec4e7)
    kit_store64(frame << 12 + 8, 0xe3ff)
    Tables.map(vm.root_frame, address, frame)
    let userRoot = makeUserRoot()
    expectOpen()
    for level: UInt64 in 1...3 {
        hideAndShow(Tables.entry(vm.root_frame, address, level: level))
    }
    hideAndShow(Tables.entry(userRoot, address, level: 4))
    alternate(Tables.entry(vm.root_frame, address))
    kernelInSupervisorPages(userRoot)
}

func expectOpen() {
    let kernel = probe(kit_probe_load, address)
    kernel.passes("kernel load")
    equal(kernel.value, 0x5ec4e7, "kernel load")
    let user = userProbe(kit_probe_load, address)
    user.passes("user load, U=1")
    equal(user.value, 0x5ec4e7, "user load, U=1")
}

func expectHidden() {
    let kernel = probe(kit_probe_load, address)
    kernel.passes("kernel load, U=0")
    equal(kernel.value, 0x5ec4e7, "kernel load, U=0")
    probe(kit_probe_store, address + 16, 1).passes("kernel store, U=0")
    probe(kit_probe_jump, address + 8).passes("kernel fetch, U=0")
    let refused = Fault.protection | Fault.user
    let load = userProbe(kit_probe_load, address)
    load.faults(address, refused, "user load, U=0")
    userProbe(kit_probe_store, address + 16, 1)
        .faults(address + 16, refused | Fault.write, "user store, U=0")
    userProbe(kit_probe_jump, address + 8)
        .fetchFaults(address + 8, refused | Fault.fetch, "user fetch, U=0")
    equal(load.trap.cs & 0xffff, UInt64(PENUMBRA_SEL_GUEST_CS), "the frame names user mode")
}

/// Takes U away in `entry` and gives it back, by hypercall and by a plain store.
func hideAndShow(_ entry: UInt64) {
    let open = kit_load64(entry)
    equal(update(entry, open & ~Entry.user), 0, "hide")
    flush(.local)
    expectHidden()
    equal(update(entry, open), 0, "show")
    flush(.local)
    expectOpen()
    kit_and64(entry, ~Entry.user)
    flush(.local)
    expectHidden()
    kit_store64(entry, open)
    flush(.local)
    expectOpen()
}

/// The kernel keeps touching what user code keeps being refused.
func alternate(_ entry: UInt64) {
    equal(updateVA(address, kit_load64(entry) & ~Entry.user, .page), 0, "hide")
    for round: UInt64 in 0..<300 {
        kit_store64(address + 24, round)
        equal(kit_load64(address + 24), round, "kernel data in a U=0 page")
        userProbe(kit_probe_load, address + 24)
            .faults(address + 24, Fault.protection | Fault.user, "refused each time")
    }
    equal(updateVA(address, kit_load64(entry) | Entry.user, .page), 0, "show")
    expectOpen()
}

/// U=0 over the kernel's whole lower half: its code, its stack, its tables. User mode's own
/// root still has U=1 there.
func kernelInSupervisorPages(_ userRoot: UInt64) {
    let slot = Tables.entry(vm.root_frame, 0, level: 4)
    equal(update(slot, kit_load64(slot) & ~Entry.user), 0, "U=0 in the kernel's root")
    flush(.local)
    equal(callUser({ a, _, _, _ in systemCall(KIT_SYSCALL_NEXT, a) }, 41), 42, "user mode still runs")
    expectOpen()
    let userSlot = Tables.entry(userRoot, address, level: 4)
    equal(update(userSlot, kit_load64(userSlot) & ~Entry.user), 0, "U=0 in the user root")
    flush(.local)
    expectHidden()
}
