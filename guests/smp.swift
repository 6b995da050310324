// SPDX-License-Identifier: Apache-2.0
// Three vCPUs: they start where they were told to, count together with locked instructions,
// take faults and switch modes independently, send one another events; and what one unmaps
// and flushes everywhere is gone for all.
// Expect: exit 0
// Needs: cpus=3
import CKit

let page = testArea + 0x77_0000_0000
let rounds: UInt64 = 20_000

nonisolated(unsafe) var counted = SharedWord.none
nonisolated(unsafe) var phase = SharedWord.none
nonisolated(unsafe) var arrived = SharedWord.none

@_cdecl("guest_main")
func guestMain() {
    counted = .make()
    phase = .make()
    arrived = .make()
    Tables.map(vm.root_frame, page, Frames.allocate())
    check(vm.vcpus == 3, "three vCPUs")
    Processors.startOthers { work() }
    work()
    Processors.join()
    equal(counted.value, 3 * rounds, "no count was lost")
    sendToAll()
}

func work() {
    equal(setRoots(kernel: vm.root_frame, user: vm.root_frame), 0, "set roots")
    for _ in 0..<rounds {
        counted.add(1)
    }
    barrier(1)
    faultsAndModes(kit_cpu_id())
    barrier(2)
    probe(kit_probe_load, page).passes("the shared page is there")
    barrier(3)
    if kit_cpu_id() == 0 {
        equal(updateVA(page, 0, .pageAllVCPUs), 0, "unmap for all")
    }
    barrier(4)
    probe(kit_probe_load, page).faults(page, 0, "unmapped for all")
    userProbe(kit_probe_load, page).faults(page, Fault.user, "in both modes")
    barrier(5)
}

/// All three meet here.
func barrier(_ number: UInt64) {
    arrived.add(1)
    if kit_cpu_id() == 0 {
        arrived.wait(for: vm.vcpus)
        arrived.value = 0
        phase.value = number
    } else {
        phase.wait(for: number)
    }
}

func faultsAndModes(_ id: UInt64) {
    let mine = testArea + 0x70_0000_0000 + id << 30
    for round: UInt64 in 0..<500 {
        let address = mine + (round % 50) << 12
        probe(kit_probe_load, address).faults(address, 0, "absent")
        userProbe(kit_probe_store, address).faults(address, Fault.user | Fault.write, "absent")
        equal(callUser({ a, _, _, _ in systemCall(KIT_SYSCALL_NEXT, a) }, round), round + 1, "system call")
    }
}

/// The others sleep in halt by now; an event wakes each.
func sendToAll() {
    for id: UInt64 in 1..<vm.vcpus {
        let port = UInt64(PTEST_PORT_FIRST_FREE) + id
        Events.bind(port, to: id)
        for _ in 0..<200 {
            let events = kit_cpu_address(id) + UInt64(KIT_CPU_EVENTS)
            let before = kit_load64(events)
            Events.send(port)
            while kit_load64(events) == before {
                kit_pause()
            }
        }
    }
}
