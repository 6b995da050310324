// SPDX-License-Identifier: Apache-2.0
// Events between a vCPU's own ports: never delivered while masked, delivered by the iret that
// unmasks, by a hypercall after unmasking, in either mode; the callback runs masked; gates
// may mask, too; and several sends make one callback with all ports.
// Expect: exit 0
import CKit

let portA = UInt64(PTEST_PORT_FIRST_FREE)
let portB: UInt64 = 63

/// What a handler saw.
nonisolated(unsafe) var maskInHandler: UInt64 = 0
nonisolated(unsafe) var interruptedMode: UInt64 = 0
nonisolated(unsafe) var interruptFlag: UInt64 = 0
nonisolated(unsafe) var takenInHandler: UInt64 = 0

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    setTrapHandler(KIT_VECTOR_EVENT) { frame in
        maskInHandler = Info.mask ? 1 : 0
        interruptedMode = frame!.pointee.cs & 3
        interruptFlag = frame!.pointee.rflags & Flags.interrupt
        Events.collect()
    }
    Events.bind(portA, to: 0)
    Events.bind(portB, to: 0)
    masked()
    atOnce()
    byUnmaskingIret()
    inUserMode()
    gatesThatMask()
    flood()
}

func masked() {
    let before = Events.taken
    Events.send(portA)
    Events.send(portB)
    for _ in 0..<100 {
        hypercall(PTEST_YIELD)
    }
    _ = probe(kit_probe_ud2)
    equal(Events.taken, before, "nothing is delivered while masked")
    check(Info.pending, "but it is pending")
    equal(kit_load64(Info.portsAddress), 1 << portA | 1 << portB, "with the ports' bits")
    Events.setMask(false)
    equal(Events.taken, before + 1, "one callback for both, on unmasking")
    Events.setMask(true)
    equal(Events.collected(), 1 << portA | 1 << portB, "which finds both")
    equal(maskInHandler, 1, "a callback runs masked")
    equal(interruptedMode, 0, "CS names kernel mode")
    equal(interruptFlag, Flags.interrupt, "IF in the frame: events were unmasked")
}

func atOnce() {
    Events.setMask(false)
    for _ in 0..<100 {
        let before = Events.taken
        Events.send(portA)
        equal(Events.taken, before + 1, "delivered before the send returns")
        check(!Info.mask, "the callback's iret unmasks")
    }
    Events.setMask(true)
}

/// A handler's iret goes back to a context with IF set, and the event comes then.
func byUnmaskingIret() {
    setTrapHandler(6) { frame in
        Events.send(portA)
        takenInHandler = Events.taken
        frame!.pointee.rflags |= Flags.interrupt
        frame!.pointee.rip += 2
    }
    let before = Events.taken
    probe(kit_probe_ud2).passes("the handler steps over it")
    check(!Info.mask, "iret with IF unmasks")
    equal(takenInHandler, before, "not delivered in the handler")
    equal(Events.taken, before + 1, "but by its iret")
    Events.setMask(true)
}

/// The #UD handler sends on behalf of user code, which is then interrupted, or not.
func inUserMode() {
    setGate(6, 1 | UInt64(PTEST_GATE_MASK))
    let before = Events.taken
    Events.setMask(false)
    _ = userProbe(kit_probe_ud2)
    equal(Events.taken, before + 1, "delivered to the kernel, out of user mode")
    equal(interruptedMode, 3, "CS names user mode")
    Events.setMask(true)
    setTrapHandler(6) { frame in
        Events.send(portA)
        frame!.pointee.rip += 2
    }
    _ = userProbe(kit_probe_ud2)
    equal(Events.taken, before + 1, "user code that runs masked is not interrupted")
    Events.setMask(false)
    equal(Events.taken, before + 2, "until the kernel unmasks")
    Events.setMask(true)
}

func gatesThatMask() {
    setTrapHandler(6) { frame in
        maskInHandler = Info.mask ? 1 : 0
        interruptFlag = frame!.pointee.rflags & Flags.interrupt
        frame!.pointee.rip += 2
    }
    Events.setMask(false)
    for masks: UInt64 in 0..<2 {
        setGate(6, 1 | masks * UInt64(PTEST_GATE_MASK))
        probe(kit_probe_ud2).passes("the handler steps over it")
        equal(maskInHandler, masks, "the gate decides whether its handler runs masked")
        equal(interruptFlag, Flags.interrupt, "the frame says what was before")
        check(!Info.mask, "and iret brings that back")
    }
    Events.setMask(true)
}

/// Sends with the mask on and off, none lost.
func flood() {
    var random = Random(state: 42)
    _ = Events.collected()
    for _ in 0..<5000 {
        let mask = random.next() & 1 == 0
        Events.setMask(mask)
        Events.send(portB)
        if mask {
            check(Info.pending, "kept")
            Events.setMask(false)
        }
        equal(Events.collected(), 1 << portB, "delivered")
    }
    Events.setMask(true)
}
