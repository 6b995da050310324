// SPDX-License-Identifier: Apache-2.0
// The core's slot and the hole around it: loads, stores, exchanges, fetches by either mode
// fault as on any absent page, with no data and nothing told about what is there. A guest's
// own entries for these slots have no effect.
// Attack: page tables
// Expect: exit 0
import CKit

let addresses =
    [
        kit_hole_start, kit_hole_start + 0x123_4560, kit_core_image, kit_core_image + 0x1000,
        kit_core_vcpus, kit_core_vcpus + UInt64(PENUMBRA_VCPU_GDT_CORE),
        kit_core_vcpus + UInt64(PENUMBRA_VCPU_IDT), kit_core_vcpus + UInt64(PENUMBRA_VCPU_PAGE),
        kit_core_vcpus + UInt64(PENUMBRA_VCPU_STACK), kit_core_vm, kit_core_ram, kit_hole_end - 8,
    ] as InlineArray<12, UInt64>

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    everywhere()
    let slots = [256, 261, 271] as InlineArray<3, UInt64>
    for index in slots.indices {
        let slot = vm.root_frame << 12 + slots[index] * 8
        let result = update(slot, kit_load64(vm.root_frame << 12))
        check(result == 0 || result == Errno.invalid, "an entry of the hole is ignored or refused")
        kit_store64(slot, kit_load64(vm.root_frame << 12))
    }
    flush(.local)
    neverData()
    for index in slots.indices {
        kit_store64(vm.root_frame << 12 + slots[index] * 8, 0)
    }
    flush(.local)
    everywhere()
    probe(kit_probe_load_far).traps(14, 0, "load by absolute address")
}

/// As on an absent page, for both modes.
func everywhere() {
    for index in addresses.indices {
        let address = addresses[index]
        probe(kit_probe_load, address).faults(address, 0, "kernel load")
        probe(kit_probe_store, address).faults(address, Fault.write, "kernel store")
        probe(kit_probe_exchange, address).faultsLocked(address, 0, "kernel xchg")
        probe(kit_probe_jump, address).fetchFaults(address, Fault.fetch, "kernel fetch")
        userProbe(kit_probe_load, address).faults(address, Fault.user, "user load")
        userProbe(kit_probe_store, address).faults(address, Fault.user | Fault.write, "user store")
        userProbe(kit_probe_jump, address)
            .fetchFaults(address, Fault.user | Fault.fetch, "user fetch")
    }
}

/// Whatever the fault says, there must be one.
func neverData() {
    for index in addresses.indices {
        let address = addresses[index]
        forEach([
            probe(kit_probe_load, address), probe(kit_probe_store, address),
            probe(kit_probe_jump, address), userProbe(kit_probe_load, address),
        ]) { result in
            check(result.trap.taken == 1 && result.trap.vector == 14, "a fault, never data")
            equal(result.trap.cr2, address, "CR2")
        }
    }
}
