// SPDX-License-Identifier: Apache-2.0
// iret to contexts that the CPU refuses, or that cannot run: the fault is delivered as if the
// new context had raised it, on its stack, and the guest goes on; none harms the core.
// Attack: contexts
// Expect: exit 0
import CKit

/// Where the bad frames are made: `rip`, `cs`, `ss` of the refused context, in kernel mode with
/// the probe's own stack, so that the probe can go on.
func iret(_ rip: UInt64, cs: UInt64 = kernelCS, ss: UInt64 = UInt64(PENUMBRA_SEL_GUEST_SS)) -> Probe {
    let frame = kit_stack_area(0)
    for word: UInt64 in 0..<9 {
        kit_store64(frame + word * 8, 0)
    }
    kit_store64(frame + 0x20, rip)
    kit_store64(frame + 0x28, cs)
    kit_store64(frame + 0x30, 2)
    kit_store64(frame + 0x40, ss)
    return probe(kit_probe_iret_frame, frame)
}

let kernelCS = UInt64(PENUMBRA_SEL_GUEST_CS) & ~3

func refused(_ result: Probe, _ rip: UInt64, _ error: UInt64, _ message: StaticString) {
    equal(result.trap.taken, 1, message)
    equal(result.trap.vector, 13, message)
    equal(result.trap.error, error, message)
    equal(result.trap.rip, rip, message)
}

@_cdecl("guest_main")
func guestMain() {
    let here = kit_function_address(kit_event_entry)
    forEach([0x8000_0000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff]) { rip in
        refused(iret(rip), rip, 0, "RIP that is not canonical")
    }
    forEach([UInt64(PENUMBRA_SEL_CORE_CS), UInt64(PENUMBRA_SEL_CORE_TSS), 0xfff8]) { selector in
        refused(iret(here, cs: selector), here, selector, "CS that is not the guest's")
    }
    let data = UInt64(PENUMBRA_SEL_GUEST_SS) & ~3
    refused(iret(here, cs: data), here, data, "CS that is no code")
    refused(iret(here, cs: 0), here, 0, "CS that is null")
    refused(
        iret(here, ss: UInt64(PENUMBRA_SEL_CORE_SS)), here, UInt64(PENUMBRA_SEL_CORE_SS), "SS of the core")
    forEach([kit_core_image, kit_hole_start, testArea]) { rip in
        iret(rip).fetchFaults(rip, Fault.fetch, "RIP where nothing is")
    }
}
