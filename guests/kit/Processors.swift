// SPDX-License-Identifier: Apache-2.0
// More vCPUs than one.
import CKit

enum Processors {
    /// Starts vCPU `id` in `entry`, with all the kit's entries installed and events masked.
    static func start(_ id: UInt64, _ entry: kit_entry) {
        let cpu = kit_cpu_at(id)!
        cpu.pointee.entry = entry
        kit_store8(Info.address(of: id) + UInt64(PTEST_INFO_MASK), 1)
        let result = kit_hypercall6(
            UInt64(PTEST_START_VCPU), id, kit_function_address(kit_secondary_start),
            kit_stack_area(id) + UInt64(KIT_KERNEL_STACK_TOP), id, vm.root_frame, Info.address(of: id))
        equal(result, 0, "start a vCPU")
    }

    /// Starts all others.
    static func startOthers(_ entry: kit_entry) {
        for id in 1..<vm.vcpus {
            start(id, entry)
        }
    }

    /// Waits until all others have returned from what they were started for.
    static func join() {
        for id in 1..<vm.vcpus {
            while kit_load64(kit_cpu_address(id) + UInt64(KIT_CPU_FINISHED)) == 0 {
                kit_pause()
            }
        }
    }
}

@_cdecl("kit_secondary_main")
func kitSecondaryMain(_ id: UInt64) {
    check(kit_cpu_id() == id, "a started vCPU has the stack it was given")
    installEntries()
    let cpu = kit_cpu_at(id)!
    cpu.pointee.entry()
    kit_store64(kit_cpu_address(id) + UInt64(KIT_CPU_FINISHED), 1)
    while true {
        hypercall(PTEST_HALT)
    }
}

/// A 64-bit word in a page of its own, that several vCPUs read and write.
struct SharedWord {
    let address: UInt64

    /// For globals, before guestMain() gives them their page.
    static let none = SharedWord(address: 0)
    static func make() -> SharedWord { SharedWord(address: Frames.allocate() << 12) }

    var value: UInt64 {
        get { kit_load64(address) }
        nonmutating set { kit_store64(address, newValue) }
    }

    func add(_ amount: UInt64) { _ = kit_add64(address, amount) }

    func wait(for expected: UInt64) {
        while value != expected {
            kit_pause()
        }
    }
}
