// SPDX-License-Identifier: Apache-2.0
// Debug registers: breakpoints on the guest's own code and data work in both modes; on
// addresses of the core, or with bits that would reach it, they are refused.
// Attack: breakpoints
// Expect: exit 0
import CKit

/// DR7 for breakpoint 0, armed locally: Intel SDM vol. 3, 17.2.4.
enum DR7 {
    static let fixed: UInt64 = 0x400
    static let execute: UInt64 = fixed | 1
    static let write8: UInt64 = fixed | 1 | 1 << 16 | 2 << 18
    static let access8: UInt64 = fixed | 1 | 3 << 16 | 2 << 18
    static let inputOutput: UInt64 = fixed | 1 | 2 << 16
    static let generalDetect: UInt64 = fixed | 1 << 13
}

func set(_ register: UInt64, _ value: UInt64) -> Int64 { hypercall(PTEST_SET_DEBUGREG, register, value) }
func get(_ register: UInt64) -> UInt64 { UInt64(bitPattern: hypercall(PTEST_GET_DEBUGREG, register)) }

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    let word = Frames.allocate() << 12
    breakpoints(word) { probe($0, $1, $2) }
    breakpoints(word) { userProbe($0, $1, $2) }
    survivesExits(word)
    refused()
}

func arm(_ address: UInt64, _ control: UInt64) {
    equal(set(0, address), 0, "DR0")
    equal(set(6, 0), 0, "DR6")
    equal(set(7, control), 0, "DR7")
}

func disarm() { equal(set(7, DR7.fixed), 0, "DR7") }

func breakpoints(_ word: UInt64, _ run: (kit_probe, UInt64, UInt64) -> Probe) {
    // Store and load are three bytes long: 48 89 10 and 48 8b 00.
    arm(word, DR7.write8)
    let store = run(kit_probe_store, word, 5)
    disarm()
    store.traps(1, 0, length: 3, "data breakpoint on a store")
    equal(get(6) & 15, 1, "DR6.B0")
    equal(kit_load64(word), 5, "a trap: the store has happened")

    arm(word, DR7.write8)
    run(kit_probe_load, word, 0).passes("a load does not trigger a write breakpoint")
    arm(word, DR7.access8)
    let load = run(kit_probe_load, word, 0)
    disarm()
    load.traps(1, 0, length: 3, "data breakpoint on a load")

    // The address of the probed instruction is known once it has run.
    let code = run(kit_probe_nop, 0, 0).trap.expected
    arm(code, DR7.execute)
    let fetch = run(kit_probe_nop, 0, 0)
    disarm()
    fetch.traps(1, 0, "execution breakpoint, before the instruction")
    run(kit_probe_nop, 0, 0).passes("disarmed")
}

func survivesExits(_ word: UInt64) {
    arm(word, DR7.write8)
    for _ in 0..<50 {
        hypercall(PTEST_YIELD)
    }
    equal(get(0), word, "DR0 after exits")
    let store = probe(kit_probe_store, word, 6)
    disarm()
    store.traps(1, 0, length: 3, "still armed after exits")
}

func refused() {
    forEach([
        kit_hole_start, kit_core_image, kit_core_vcpus + UInt64(PENUMBRA_VCPU_PAGE), kit_core_ram,
        kit_hole_end - 1, 0x8000_0000_0000_0000,
    ]) { address in
        for register: UInt64 in 0..<4 {
            check(set(register, address) < 0, "no breakpoint on an address of the core")
            check(get(register) != address, "and none is kept")
        }
    }
    check(set(7, DR7.inputOutput) < 0 || get(7) & 3 == 0, "I/O breakpoints are not armed")
    check(set(7, DR7.generalDetect) < 0 || get(7) & 1 << 13 == 0, "no general detect")
    check(set(7, 1 << 32 | DR7.fixed) < 0 || get(7) >> 32 == 0, "no upper half of DR7")
    disarm()
}
