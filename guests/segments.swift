// SPDX-License-Identifier: Apache-2.0
// Segment registers and bases: selectors that are the guest's load, the core's and wrong ones
// are #GP(selector); FS and GS bases live through exits, GS per mode; and descriptors that a
// guest sets are sanitised, and may go again.
// Attack: descriptors and selectors
// Expect: exit 0
import CKit

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    selectors { probe($0, $1) }
    selectors { userProbe($0, $1) }
    bases()
    basesPerMode()
    descriptors()
}

/// Runs a probe with one operand.
func selectors(_ run: (kit_probe, UInt64) -> Probe) {
    forEach([kit_probe_write_ds, kit_probe_write_es, kit_probe_write_fs, kit_probe_write_gs]) {
        (load: kit_probe) in
        run(load, 0).passes("null selector")
        run(load, 3).passes("null selector with RPL 3")
        run(load, UInt64(PENUMBRA_SEL_GUEST_SS)).passes("the guest's data segment")
        forEach([
            UInt64(PENUMBRA_SEL_CORE_CS), UInt64(PENUMBRA_SEL_CORE_SS), UInt64(PENUMBRA_SEL_CORE_TSS),
            0xfff8, 0xe0f8, 0xfffc,
        ]) { selector in
            run(load, selector).traps(13, selector & 0xfffc, "a selector that is not the guest's")
        }
        run(load, 0).passes("null selector again")
    }
    run(kit_probe_write_ss, 0).traps(13, 0, "SS takes no null selector")
    let coreStack = UInt64(PENUMBRA_SEL_CORE_SS)
    run(kit_probe_write_ss, coreStack).traps(13, coreStack, "SS of the core")
    run(kit_probe_write_ss, UInt64(PENUMBRA_SEL_GUEST_SS)).passes("SS of the guest")
}

/// Values set by instruction and by hypercall stay over exits.
func bases() {
    forEach([0, 0x1234_5678_9abc, 0xffff_8880_0000_0000]) { (base: UInt64) in
        let other = ~base & 0x7fff_ffff_ffff
        probe(kit_probe_write_fs_base, base).passes("wrfsbase")
        probe(kit_probe_write_gs_base, other).passes("wrgsbase")
        for _ in 0..<20 {
            hypercall(PTEST_YIELD)
            equal(probe(kit_probe_read_fs_base).value, base, "FS base after an exit")
            equal(probe(kit_probe_read_gs_base).value, other, "GS base after an exit")
        }
        equal(hypercall(PTEST_SET_SEGMENT_BASE, 0, base ^ 0x1000), 0, "set FS base")
        equal(probe(kit_probe_read_fs_base).value, base ^ 0x1000, "FS base by hypercall")
    }
    // Emulators take it; then exits must still work, with such a base as with any other.
    let wild = probe(kit_probe_write_fs_base, 0x8000_0000_0000_0000)
    if wild.trap.taken == 1 {
        wild.traps(13, 0, "a base that is not canonical")
    }
    hypercall(PTEST_YIELD)
    probe(kit_probe_write_fs_base, 0).passes("wrfsbase")
}

/// Kernel and user mode have GS bases of their own; FS is common.
func basesPerMode() {
    equal(hypercall(PTEST_SET_SEGMENT_BASE, 2, 0x1111_0000), 0, "kernel GS base")
    equal(hypercall(PTEST_SET_SEGMENT_BASE, 1, 0x2222_0000), 0, "user GS base")
    probe(kit_probe_write_fs_base, 0x3333_0000).passes("FS base")
    for round: UInt64 in 0..<100 {
        equal(probe(kit_probe_read_gs_base).value, 0x1111_0000 + round, "kernel's GS base")
        equal(userProbe(kit_probe_read_gs_base).value, 0x2222_0000 + round, "user's GS base")
        equal(userProbe(kit_probe_read_fs_base).value, 0x3333_0000 + round, "FS base seen by user")
        userProbe(kit_probe_write_gs_base, 0x2222_0001 + round).passes("user writes its GS base")
        userProbe(kit_probe_write_fs_base, 0x3333_0001 + round).passes("and FS")
        probe(kit_probe_write_gs_base, 0x1111_0001 + round).passes("the kernel writes its own")
        if round % 10 == 0 {
            hypercall(PTEST_YIELD)
        }
    }
}

let dataDescriptor: UInt64 = 0x00cf_f300_0000_ffff  // flat, writable, DPL 3
let index: UInt64 = 100
let selector = index << 3 | 3

func set(_ descriptor: UInt64) -> Int64 { hypercall(PTEST_SET_DESCRIPTOR, index, descriptor) }

func descriptors() {
    equal(set(dataDescriptor), 0, "a data segment of DPL 3")
    probe(kit_probe_write_es, selector).passes("loads")
    hypercall(PTEST_YIELD)
    equal(probe(kit_probe_access_rights, selector).value & 0xff00, 0xf300, "its access rights")
    probe(kit_probe_write_es, 0).passes("null selector")
    equal(set(0), 0, "a null descriptor")
    probe(kit_probe_write_es, selector).traps(13, selector & 0xfffc, "not there any more")

    lostDescriptors()

    // Ring-0 code, ring-0 data, a call gate, a TSS, an LDT: never as they are.
    forEach([
        0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_ec00_0010_0000, 0x0000_8900_0000_0067,
        0x0000_8200_0000_0fff,
    ]) { (descriptor: UInt64) in
        let result = set(descriptor)
        check(result == 0 || result == Errno.invalid, "sanitised or refused")
        let rights = probe(kit_probe_access_rights, selector).value
        check(rights == 0 || rights & 0x7000 == 0x7000, "what is visible is code or data of DPL 3")
    }
    equal(set(0), 0, "a null descriptor")
}

/// A descriptor that goes while a register holds its selector: that is null after the next exit.
func lostDescriptors() {
    forEach([kit_probe_write_ds, kit_probe_write_es, kit_probe_write_fs, kit_probe_write_gs]) {
        (load: kit_probe) in
        equal(set(dataDescriptor), 0, "a data segment")
        probe(load, selector).passes("loads")
        equal(set(0), 0, "a null descriptor")
        hypercall(PTEST_YIELD)
    }
    equal(probe(kit_probe_read_ds).value & 0xffff, 0, "a selector without a descriptor")
}
