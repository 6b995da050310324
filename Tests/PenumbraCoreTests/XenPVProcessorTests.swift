// SPDX-License-Identifier: Apache-2.0
//
// Several vCPUs of a Xen PV guest: how they come up and go down, what they are to start with, how
// they wait for each other, and how their time is told.

import CCore
import CPenumbra
import Testing

@testable import PenumbraCore

/// A vcpu_guest_context in the records, from their second page on.
private struct Context {
    static let offset: UInt64 = 0x1000
    static let address = XenMachine.records + offset
    static let gdtFrame: UInt64 = 62
    static let text: UInt64 = 0xffff_ffff_8100_0000

    let guest: XenMachine

    /// One that is sound, with the rest zero.
    init(_ guest: XenMachine) {
        self.guest = guest
        self[0x200] = 4
        self[0x208] = 15  // r15
        self[0x208 + 112] = 7  // rdi
        self[0x208 + 128] = Self.text
        self[0x208 + 144] = 0x3000 | 0x40
        self[0x208 + 152] = 0xffff_8800_0000_1000
        self[0x2d0 + 14 * 16] = 14 | 4 << 8 | 0xe033 << 16
        self[0x2d0 + 14 * 16 + 8] = Self.text + 14
        self[0x12e0] = Self.gdtFrame
        self[0x1360] = 16
        self[0x1370] = 0xffff_8800_0000_2000
        self[0x1378 + 24] = 1 << 12
        self[0x13f8] = Self.text + 0x100
        self[0x1420] = 0xffff_8880_1234_0000
    }

    subscript(place: UInt64) -> UInt64 {
        get { guest[Self.offset + place] }
        nonmutating set { guest[Self.offset + place] = newValue }
    }

    func initialise(_ vcpu: UInt64 = 1, by id: Int = 0) -> Int64 {
        guest.call(Hypercall.vcpu, 0, vcpu, Self.address, on: id).result
    }
}

extension XenMachine {
    fileprivate func isUp(_ vcpu: UInt64) -> Int64 { call(Hypercall.vcpu, 3, vcpu).result }

    /// Brings vCPU 1 up and into its guest.
    fileprivate func start() {
        #expect(Context(self).initialise() == 0)
        #expect(call(Hypercall.vcpu, 1, 1).exits == [PENUMBRA_EXIT_KICK])
        #expect(enter(1) == .resume)
    }

    /// The vCPU comes into the core, by the module.
    fileprivate func enter(_ vcpu: Int) -> Continuation {
        FakeMachine.acting = vcpu
        while true {
            let end = Attention<XenPV>.serve(self.vcpu(vcpu))
            let reason = Int32(self.vcpu(vcpu).page.pointee.exit_reason)
            if end != .leave || reason != PENUMBRA_EXIT_KICK && reason != PENUMBRA_EXIT_GROW { return end }
            if reason == PENUMBRA_EXIT_GROW { machine.grow() }
        }
    }

    fileprivate func sleeps(_ vcpu: Int) -> Bool {
        enter(vcpu) == .leave && self.vcpu(vcpu).page.pointee.exit_reason == UInt64(PENUMBRA_EXIT_HALT)
    }
}

extension MemoryTests {
    @Suite struct XenPVProcessors {
        // MARK: - Up and down

        @Test("a vCPU starts with the context that it was given")
        func start() {
            let guest = XenMachine(vcpus: 2)
            #expect(Context(guest).initialise() == 0)
            #expect(guest.isUp(1) == 0)
            #expect(guest.call(Hypercall.vcpu, 1, 1).exits == [PENUMBRA_EXIT_KICK])
            #expect(guest.isUp(1) == 1)
            let vcpu = guest.vcpu(1)
            #expect(vcpu.hasAttention(PENUMBRA_ATTENTION_EVENT))
            #expect(guest.enter(1) == .resume)
            let frame = vcpu.frame
            #expect(frame.rip == Context.text && frame.rsp == 0xffff_8800_0000_1000)
            #expect(frame.rdi == 7 && frame.r15 == 15 && frame.rax == 0)
            #expect(frame.rflags == 0x242, "no IOPL, interrupts on")
            #expect(frame.cs == UInt64(PENUMBRA_SEL_GUEST_CS) && frame.ss == UInt64(PENUMBRA_SEL_GUEST_SS))
            #expect(vcpu.gate(14).address == Context.text + 14 && vcpu.gate(14).masksEvents)
            #expect(vcpu.gate(13).address == 0)
            #expect(vcpu.state.pointee.kernelStack == 0xffff_8800_0000_2000)
            #expect(vcpu.state.pointee.eventCallback == Context.text + 0x100)
            #expect(vcpu.eventsMasked)
            #expect(guest.machine.memory(1).rootAddress(mode: .kernel) != nil)
            guest.check()
        }

        @Test("a vCPU gets one context in its life, one that is up none, and one that is not there ENOENT")
        func twice() {
            let guest = XenMachine(vcpus: 2)
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == -22, "nothing to start with")
            #expect(Context(guest).initialise() == 0)
            #expect(Context(guest).initialise() == -17)
            #expect(Context(guest).initialise(0) == -17, "itself")
            for command in [0, 1, 2, 3, 4, 5, 10] as [UInt64] {
                #expect(guest.call(Hypercall.vcpu, command, 2, Context.address).result == -2, "\(command)")
            }
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == 0)
            #expect(guest.call(Hypercall.vcpu, 1, 1).exits.isEmpty, "it is up")
            #expect(Context(guest).initialise() == -17)
        }

        @Test("a wild context is refused, and the vCPU can have a sound one")
        func wild() {
            let guest = XenMachine(vcpus: 2)
            let hole = UInt64(PENUMBRA_HOLE_START)
            let notCanonical: UInt64 = 1 << 47
            let faults: [(UInt64, UInt64)] = [
                (0x200, 0), (0x208 + 128, hole), (0x208 + 128, notCanonical), (0x2d0 + 8, hole),
                (0x2d0 + 255 * 16 + 8, notCanonical), (0x12d8, 1), (0x12e0, UInt64(XenMachine.ram)),
                (0x12e0, 1 << 32), (0x1360, 513), (0x1360, .max), (0x1370, hole), (0x1378 + 24, 1 << 60),
                (0x1378 + 24, UInt64(XenMachine.ram) << 12), (0x1378 + 8, UInt64(guest.machine.frames) << 12),
                (0x13f8, hole), (0x1400, hole), (0x1408, hole), (0x1418, notCanonical),
                (0x1420, notCanonical), (0x1428, notCanonical),
            ]
            for (place, value) in faults {
                let context = Context(guest)
                let sound = context[place]
                context[place] = value
                #expect(context.initialise() == -22, "\(String(place, radix: 16))")
                context[place] = sound
                #expect(guest.call(Hypercall.vcpu, 1, 1).result == -22)
            }
            for pointer: UInt64 in [0, hole, .max - 7, XenMachine.records + 0x7000] {
                #expect(guest.call(Hypercall.vcpu, 0, 1, pointer).result == -14)
            }
            #expect(guest.sleeps(1), "events do not start it")
            #expect(Context(guest).initialise() == 0)
            guest.check()
        }

        @Test("a root that has become none until the vCPU starts ends the VM")
        func lostRoot() {
            let guest = XenMachine(vcpus: 2)
            let context = Context(guest)
            context[0x1378 + 24] = 90 << 12
            #expect(context.initialise() == 0)
            #expect(guest.machine.memory().claimForCore(GuestFrame(90)) == .done)
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == 0)
            #expect(guest.enter(1) == .leave)
            #expect(guest.vcpu(1).page.pointee.crash_reason == UInt64(PENUMBRA_CRASH_BAD_START))
        }

        @Test("a vCPU that is taken down runs nothing until it is up, and then goes on")
        func down() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            guest.vcpu(1).frame.rbx = 77
            let answer = guest.call(Hypercall.vcpu, 2, 1)
            #expect(answer.result == 0 && answer.exits == [PENUMBRA_EXIT_KICK])
            #expect(guest.isUp(1) == 0)
            #expect(guest.sleeps(1))
            ccore_store8(guest.info(1) + 1, 0)
            guest.vcpu(1).setEventsPending()
            #expect(guest.sleeps(1), "events neither")
            ccore_store8(guest.info(1), 0)
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == 0)
            #expect(guest.enter(1) == .resume)
            #expect(guest.vcpu(1).frame.rbx == 77 && guest.vcpu(1).frame.rip == Context.text)
            #expect(guest.call(Hypercall.vcpu, 2, 1, on: 1).exits == [PENUMBRA_EXIT_HALT], "itself")
            #expect(guest.sleeps(1))
        }

        @Test("the last vCPU that goes down takes the VM with it")
        func last() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            #expect(guest.call(Hypercall.vcpu, 2, 0).exits == [PENUMBRA_EXIT_HALT])
            #expect(guest.call(Hypercall.vcpu, 2, 1, on: 1).exits == [PENUMBRA_EXIT_SHUTDOWN])
            #expect(guest.vcpu(1).page.pointee.exit_arg.0 == UInt64(PENUMBRA_SHUTDOWN_POWEROFF))
        }

        @Test("two vCPUs that take each other down take the VM with them")
        func mutual() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            #expect(guest.call(Hypercall.vcpu, 2, 1).exits == [PENUMBRA_EXIT_KICK])
            #expect(
                guest.call(Hypercall.vcpu, 2, 0, on: 1).exits == [PENUMBRA_EXIT_SHUTDOWN],
                "it has a call left")
        }

        @Test("an NMI before the first entry is sent again, and the vCPU starts then")
        func interruptedStart() {
            let guest = XenMachine(vcpus: 2)
            guest.vcpu().raiseAttention(PENUMBRA_ATTENTION_START)
            guest.vcpu().raiseAttention(PENUMBRA_ATTENTION_NMI)
            #expect(guest.enter(0) == .leave)
            #expect(guest.vcpu().page.pointee.exit_reason == UInt64(PENUMBRA_EXIT_SLICE))
            #expect(guest.vcpu().hasAttention(PENUMBRA_ATTENTION_START))
        }

        @Test("vcpu_info can be moved until its vCPU is first up, and by itself later")
        func placing() {
            let guest = XenMachine(vcpus: 2)
            guest.write([50, 128])
            #expect(guest.call(Hypercall.vcpu, 10, 1, XenMachine.records).result == 0)
            #expect(guest.vcpu(1).state.pointee.info == Windows.ram + 50 * 4096 + 128)
            guest.write([51, 0])
            #expect(guest.call(Hypercall.vcpu, 10, 1, XenMachine.records).result == -22, "twice")
            guest.start()
            #expect(guest.vcpu(1).state.pointee.info == Windows.ram + 50 * 4096 + 128, "it stays there")
            #expect(guest.call(Hypercall.vcpu, 2, 1).result == 0)
            #expect(guest.call(Hypercall.vcpu, 10, 1, XenMachine.records).result == -22, "it may run still")
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == 0)
            guest.write([51, 0])
            #expect(guest.call(Hypercall.vcpu, 10, 0, XenMachine.records, on: 1).result == -22)
            #expect(guest.call(Hypercall.vcpu, 10, 0, XenMachine.records).result == 0)
            guest.check()
        }

        @Test("vcpu_info that is moved between the context and the start is where the vCPU starts")
        func placingLate() {
            let guest = XenMachine(vcpus: 2)
            #expect(Context(guest).initialise() == 0)
            guest.write([50, 64])
            #expect(guest.call(Hypercall.vcpu, 10, 1, XenMachine.records).result == 0)
            #expect(guest.call(Hypercall.vcpu, 1, 1).result == 0)
            #expect(guest.enter(1) == .resume)
            #expect(guest.vcpu(1).state.pointee.info == Windows.ram + 50 * 4096 + 64)
            guest.check()
        }

        // MARK: - Waiting for each other

        private func bind(_ guest: XenMachine, to vcpu: UInt64) -> UInt64 {
            guest.write([vcpu])
            #expect(guest.call(Hypercall.eventChannel, 7, XenMachine.records).result == 0)
            return UInt64(guest.word32(4))
        }

        private func poll(_ guest: XenMachine, _ ports: [UInt64], until: UInt64 = 0) -> (Int64, [Int32]) {
            guest.write([XenMachine.records + 0x80, UInt64(ports.count), until])
            for (index, pair) in stride(from: 0, to: ports.count, by: 2).enumerated() {
                let high = pair + 1 < ports.count ? ports[pair + 1] : 0
                guest[0x80 + 8 * UInt64(index)] = ports[pair] | high << 32
            }
            let answer = guest.call(Hypercall.scheduler, 3, XenMachine.records, on: 1)
            return (answer.result, answer.exits)
        }

        @Test("a poller sleeps until its port is pending, though it is masked")
        func polls() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            let port = bind(guest, to: 1)
            guest.setMask(port)
            #expect(poll(guest, [port]) == (0, [PENUMBRA_EXIT_HALT]))
            #expect(guest.vcpu(1).page.pointee.attention == 0, "nothing keeps it awake")
            guest.write([port])
            #expect(
                guest.call(Hypercall.eventChannel, 4, XenMachine.records).exits == [PENUMBRA_EXIT_KICK])
            #expect(guest.vcpu().page.pointee.exit_arg.0 == 2)
            #expect(guest.vcpu(1).hasAttention(PENUMBRA_ATTENTION_EVENT))
            #expect(guest.enter(1) == .resume)
            #expect(poll(guest, [port]) == (0, []), "it is pending")
        }

        @Test("a poller of several ports is woken by one of them; another port wakes no poller of one")
        func pollsSeveral() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            let ports = (0..<3).map { _ in bind(guest, to: 1) }
            for port in ports { guest.setMask(port) }
            #expect(poll(guest, Array(ports.prefix(2))) == (0, [PENUMBRA_EXIT_HALT]))
            guest.write([ports[1]])
            #expect(guest.call(Hypercall.eventChannel, 4, XenMachine.records).exits == [PENUMBRA_EXIT_KICK])
            #expect(poll(guest, [ports[0]]) == (0, [PENUMBRA_EXIT_HALT]))
            guest.write([ports[2]])
            #expect(guest.call(Hypercall.eventChannel, 4, XenMachine.records).exits.isEmpty)
        }

        @Test("polls of wild lists are refused, those of none wait for any event, and none waits for a time")
        func pollRefusals() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            #expect(poll(guest, [UInt64(PENUMBRA_MAX_PORTS)]).0 == -22)
            #expect(poll(guest, [0]).0 == -22)
            #expect(poll(guest, [3, 0]).0 == -22)
            guest.write([UInt64(PENUMBRA_HOLE_START), 1, 0])
            #expect(guest.call(Hypercall.scheduler, 3, XenMachine.records, on: 1).result == -14)
            guest.write([XenMachine.records, 129, 0])
            #expect(guest.call(Hypercall.scheduler, 3, XenMachine.records, on: 1).result == -22)
            #expect(poll(guest, [], until: 5) == (0, [PENUMBRA_EXIT_SLICE]))
            #expect(poll(guest, []) == (0, [PENUMBRA_EXIT_HALT]))
        }

        @Test("an interrupt of another vCPU's can be bound, once, by whoever is first")
        func virtualInterrupts() {
            let guest = XenMachine(vcpus: 2)
            guest.write([0, 0])
            guest[0] = 1 << 32
            #expect(guest.call(Hypercall.eventChannel, 1, XenMachine.records).result == 0)
            let port = UInt64(guest.word32(8))
            #expect(guest.vcpu(1).interruptPort(VirtualInterrupt.timer) == UInt32(port))
            #expect(guest.vcpu(0).interruptPort(VirtualInterrupt.timer) == 0)
            #expect(guest.call(Hypercall.eventChannel, 1, XenMachine.records).result == -17)
            #expect(XenPV.timerExpired(guest.vcpu(1)) == 0)
            #expect(guest.isPending(port) && guest.isUpcalled(1) && !guest.isUpcalled(0))
        }

        @Test("of those that close or move a port as it was, the first alone does it")
        func races() throws {
            let guest = XenMachine(vcpus: 2)
            let port = bind(guest, to: 1)
            let entry = try #require(EventPorts.entry(port))
            #expect(EventPorts.beginClosing(port, entry))
            #expect(!EventPorts.beginClosing(port, entry))
            #expect(!EventPorts.replace(port, entry, by: entry.moved(to: 0)))
            #expect(Ports.vcpu(of: port) == UInt64(PENUMBRA_NO_VCPU))
            #expect(bind(guest, to: 1) != port, "it is not free yet")
            guest.write([port])
            #expect(guest.call(Hypercall.eventChannel, 3, XenMachine.records).result == -22)
            EventPorts.endClosing(port)
            #expect(bind(guest, to: 1) == port)
        }

        @Test("what was posted to a port before it moved reaches the vCPU that it moved to")
        func postedAndMoved() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            guest.write([0])
            #expect(guest.call(Hypercall.eventChannel, 6, XenMachine.records).result == 0)
            let port = UInt64(guest.word32(4))
            ccore_store64(
                Windows.vm + UInt(PENUMBRA_VM_OFFSET_POSTED) + UInt(port >> 6) * 8, 1 << (port & 63))
            guest.write([port | 1 << 32])
            #expect(guest.call(Hypercall.eventChannel, 8, XenMachine.records).exits == [PENUMBRA_EXIT_KICK])
            #expect(guest.vcpu().page.pointee.exit_arg.0 == 2)
            #expect(guest.enter(1) == .resume)
            #expect(guest.isPending(port) && guest.isUpcalled(1))
        }

        @Test("a flush of several vCPUs kicks those of them that are in the world, and waits")
        func flushes() {
            let guest = XenMachine(vcpus: 3)
            guest.write([8, 0, XenMachine.records + 0x100])
            guest[0x100] = 0b100
            #expect(
                guest.call(Hypercall.mmuExtended, XenMachine.records, 1, 0, domainSelf).exits
                    == [PENUMBRA_EXIT_KICK])
            #expect(guest.vcpu().page.pointee.exit_arg.0 == 0b100)
            #expect(guest.vcpu().page.pointee.exit_arg.1 == UInt64(PENUMBRA_KICK_WAITS))
            #expect(!guest.machine.memory(1).owesFlush && guest.machine.memory(2).owesFlush)
        }

        @Test("a descriptor that is changed in a table changes for every vCPU that has loaded it")
        func sharedDescriptors() {
            let guest = XenMachine(vcpus: 2)
            let data: UInt64 = 0x00cf_f300_0000_ffff
            guest[0] = Context.gdtFrame
            for id in 0..<2 {
                #expect(guest.call(Hypercall.setGDT, XenMachine.records, 16, on: id).result == 0)
            }
            let place = Context.gdtFrame << 12 | 12 << 3
            #expect(guest.call(Hypercall.updateDescriptor, place, data).result == 0)
            for id in 0..<2 { #expect(guest.vcpu(id).liveDescriptor(12 << 3)?.isReadable == true) }
        }

        // MARK: - Time

        @Test("stolen time is told where the guest wants it, with no mark left")
        func stolenTime() {
            let guest = XenMachine(vcpus: 2)
            guest.machine.vm.pointee.clock.mul = 1 << 31
            guest.start()
            guest[0] = XenMachine.records + 0x200
            #expect(guest.call(Hypercall.vcpu, 5, 1, XenMachine.records).result == 0)
            #expect(guest[0x218] == 0)
            guest.vcpu(1).page.pointee.stolen_time = 5_000_000
            #expect(guest.enter(1) == .resume)
            #expect(guest[0x218] == 5_000_000 && guest[0x200] == 0)
            #expect(guest[0x208] != 0 && guest[0x208] >> 63 == 0)
            #expect(guest[0x210] == guest[0x208] - 5_000_000)
            #expect(guest.call(Hypercall.vcpu, 4, 1, XenMachine.records + 0x300).result == 0)
            #expect(guest[0x318] == 5_000_000)
            guest[0] = UInt64(PENUMBRA_HOLE_START)
            #expect(guest.call(Hypercall.vcpu, 5, 1, XenMachine.records).result == -14)
            guest.check()
        }

        @Test("an area that is gone when there is something to tell costs nobody anything")
        func lostArea() {
            let guest = XenMachine(vcpus: 2)
            guest.start()
            guest.vcpu(1).state.pointee.runStateAddress = UInt64(PENUMBRA_HOLE_START)
            guest.vcpu(1).page.pointee.stolen_time = 1
            #expect(guest.enter(1) == .resume)
            #expect(guest.vcpu(1).state.pointee.stolenTime == 1)
        }
    }
}
