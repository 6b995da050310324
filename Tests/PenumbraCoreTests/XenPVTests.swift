// SPDX-License-Identifier: Apache-2.0
//
// The Xen PV personality over a fake machine: calls as a guest kernel makes them, with their
// records in its memory, and what they leave in registers, tables, ports and exits.

import CCore
import CPenumbra
import Foundation
import Testing

@testable import PenumbraCore

/// A guest of 400 frames with root 1, tables from frame 2 on, records in frames 40 to 47, and its
/// special frames behind.
final class XenMachine {
    static let ram = 400
    static let records: UInt64 = 0xffff_8880_0000_0000
    let machine: FakeMachine
    private let vcpuArea: UInt

    init(vcpus: Int = 1) {
        let special = Int(xenpv_special_frames(UInt32(Self.ram)))
        machine = FakeMachine(frames: Self.ram + special, vcpus: vcpus)
        machine.vm.pointee.ram_frames = UInt32(Self.ram)
        machine.memory().setPolicy(XenPV.memoryPolicy)
        vcpuArea = machine.area(vcpus * Int(PENUMBRA_VCPU_STRIDE))
        var tables = Array(2..<20)
        for page in 0..<8 as Range<UInt64> {
            machine.map(Self.records + page << 12, to: 40 + Int(page), root: 1, tables: &tables)
        }
        for number in 0..<vcpus {
            let vcpu = vcpu(number)
            vcpu.page.pointee.id = UInt32(number)
            vcpu.page.pointee.start.root_frame = 1
            #expect(machine.run(number) { $0.loadRoot(GuestFrame(1), mode: .kernel) } == .done)
            vcpu.state.pointee.info = info(number)
            vcpu.state.pointee.infoAddress = UInt64(Self.ram) << 12 + UInt64(number) * 64
        }
        vcpu(0).bringUpFirst()
        vcpu(0).state.pointee.awaitsStart = false
        #expect(machine.run { _ in XenPV.prepareStart(self.vcpu(0)) } == .done)
        EventPorts.begin()
    }

    func vcpu(_ number: Int = 0) -> VCPU {
        let page = vcpuArea + UInt(number) * UInt(PENUMBRA_VCPU_STRIDE) + UInt(PENUMBRA_VCPU_PAGE)
        return VCPU(UnsafeMutablePointer(bitPattern: page)!)
    }

    // MARK: - What the guest sees

    var shared: UInt { Windows.ram + UInt(Self.ram) * 4096 }
    func info(_ number: Int) -> UInt { shared + UInt(number) * UInt(XENPV_VCPU_INFO_SIZE) }
    func isUpcalled(_ number: Int = 0) -> Bool { ccore_load8(info(number)) != 0 }
    func selector(_ number: Int = 0) -> UInt64 { ccore_load64(info(number) + 8) }
    func isPending(_ port: UInt64) -> Bool {
        ccore_load64(shared + UInt(XENPV_SHARED_PENDING)) >> port & 1 != 0
    }
    func setMask(_ port: UInt64) { _ = ccore_fetch_or64(shared + UInt(XENPV_SHARED_MASK), 1 << port) }

    /// The word at an offset of the records.
    subscript(offset: UInt64) -> UInt64 {
        get { ccore_load64(Windows.ram + 40 * 4096 + UInt(offset)) }
        set { ccore_store64(Windows.ram + 40 * 4096 + UInt(offset), newValue) }
    }
    func write(_ words: [UInt64], at offset: UInt64 = 0) {
        for (index, word) in words.enumerated() { self[offset + 8 * UInt64(index)] = word }
    }
    func word32(_ offset: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: self[offset & ~7] >> (offset & 4 * 8))
    }

    // MARK: - Calls

    /// Makes a call as `syscall` does, and again for as long as it is not done.
    /// - Returns: RAX, the exits on the way, and how often the guest was let go before its call was done.
    @discardableResult
    func call(
        _ number: UInt64, _ arguments: UInt64..., on id: Int = 0
    ) -> (result: Int64, exits: [Int32], interruptions: Int) {
        let vcpu = vcpu(id)
        let padded = arguments + Array(repeating: 0, count: 5 - arguments.count)
        vcpu.frame.rax = number
        vcpu.arguments = CallArguments(
            first: padded[0], second: padded[1], third: padded[2], fourth: padded[3], fifth: padded[4])
        var exits: [Int32] = []
        FakeMachine.acting = id
        for interruptions in 0..<1000 {
            vcpu.frame.rip = 0x1002
            if XenPV.hypercall(vcpu) == .leave { exits.append(serve(vcpu)) }
            if vcpu.frame.rip == 0x1002 {
                return (Int64(bitPattern: vcpu.frame.rax), exits, interruptions)
            }
        }
        Issue.record("call \(number) never ends")
        return (0, exits, 1000)
    }

    private func serve(_ vcpu: VCPU) -> Int32 {
        let reason = Int32(vcpu.page.pointee.exit_reason)
        if reason == PENUMBRA_EXIT_GROW { machine.grow() }
        return reason
    }

    func check() { machine.check() }
}

extension MemoryTests {
    @Suite struct XenPVCalls {
        @Test("unknown calls and commands are ENOSYS, wild pointers EFAULT")
        func refusals() {
            let guest = XenMachine()
            #expect(guest.call(63).result == -38)
            #expect(guest.call(Hypercall.version, 99).result == -38)
            let wild: [UInt64] = [
                0, UInt64(PENUMBRA_HOLE_START), 1 << 47, .max - 7, XenMachine.records + 0x8000,
            ]
            for pointer in wild {
                for number in [Hypercall.memoryOperation, Hypercall.eventChannel, Hypercall.grantTable] {
                    let command: UInt64 = number == Hypercall.memoryOperation ? 9 : 6
                    #expect(guest.call(number, command, pointer, 1).result == -14, "\(number)")
                }
                #expect(guest.call(Hypercall.multicall, pointer, 1).result == -14)
                #expect(guest.call(Hypercall.mmuUpdate, pointer, 1, 0, domainSelf).result == -14)
                #expect(guest.call(Hypercall.mmuExtended, pointer, 1, 0, domainSelf).result == -14)
            }
            guest.check()
        }

        @Test("mmu_update does items in order, says how many, and stops at the first refused")
        func updates() {
            let guest = XenMachine()
            let table: UInt64 = 60
            guest.write([
                table << 12, 0x21_067, table << 12 | 8 | 2, 0x22_067, 1 << 40, 0, table << 12 | 16, 0x23_067,
            ])
            let done = XenMachine.records + 0x800
            let answer = guest.call(Hypercall.mmuUpdate, XenMachine.records, 4, done, domainSelf)
            #expect(answer.result == -22)
            #expect(guest.word32(0x800) == 2)
            #expect(guest.machine.entry(60, 0) == 0x21_067 && guest.machine.entry(60, 1) == 0x22_067)
            #expect(guest.machine.entry(60, 2) == 0)
            #expect(guest.call(Hypercall.mmuUpdate, XenMachine.records, 1, 0, 1).result == -1)
            guest.check()
        }

        @Test("a long list is done in slices of 64, and the guest's registers carry the rest")
        func slices() {
            let guest = XenMachine()
            for index in 0..<200 as Range<UInt64> {
                guest.write([60 << 12 | index << 3, index << 12 | 0x67], at: index * 16)
            }
            let done = XenMachine.records + 0x7000
            let answer = guest.call(Hypercall.mmuUpdate, XenMachine.records, 200, done, domainSelf)
            #expect(answer.result == 0)
            #expect(answer.exits.filter { $0 == PENUMBRA_EXIT_SLICE }.count == 3)
            #expect(guest.word32(0x7000) == 200)
            for index in 0..<200 { #expect(guest.machine.entry(60, index) == UInt64(index) << 12 | 0x67) }
            let endless = guest.call(Hypercall.mmuUpdate, XenMachine.records, 0xffff_ffff, 0, domainSelf)
            #expect(endless.result == -14, "the end of the mapped list")
            guest.check()
        }

        /// Six level-1 tables, in frames 103 to 108, with 512 shadowed entries each: all of one page.
        private func crowded() -> XenMachine {
            let guest = XenMachine()
            var tables = Array(101..<120)
            for page in 0..<6 * 512 as Range<UInt64> {
                let address = 1 << 32 | page << 12
                guest.machine.map(address, to: 60 + Int(page / 512), root: 1, tables: &tables)
                #expect(guest.machine.access(0, address, .read).0 == .done)
            }
            return guest
        }

        @Test("a list that takes much from the shadows is done in slices by what it takes")
        func removals() {
            let guest = crowded()
            for index in 0..<6 as Range<UInt64> { guest.write([4, 103 + index, 0], at: index * 24) }
            let done = XenMachine.records + 0x800
            let answer = guest.call(Hypercall.mmuExtended, XenMachine.records, 6, done, domainSelf)
            #expect(answer.result == 0 && guest.word32(0x800) == 6)
            #expect(answer.exits.filter { $0 == PENUMBRA_EXIT_SLICE }.count >= 2)
            for table in 103..<109 { #expect(guest.machine.shadows(of: table) == 0) }
            guest.check()
        }

        @Test("a flush that takes much from the shadows lets interrupts in on its way")
        func partialFlush() {
            let guest = crowded()
            for table in 103..<109 {
                let mapping = XenMachine.records + 0x8000 + UInt64(table) << 12
                var none: [Int] = []
                guest.machine.map(mapping, to: table, root: 1, tables: &none)
                #expect(guest.machine.access(0, mapping, .write).0 == .done)
                for slot in 0..<512 { guest.machine.setEntry(table, slot, 0) }
            }
            guest.write([6, 0, 0])
            let answer = guest.call(Hypercall.mmuExtended, XenMachine.records, 1, 0, domainSelf)
            #expect(answer.result == 0 && answer.interruptions >= 2)
            for page in 0..<6 * 512 as Range<UInt64> {
                #expect(guest.machine.hardwareWalk(0, 1 << 32 | page << 12, .kernel) == nil)
            }
            guest.check()
        }

        @Test("operations behind SET_LDT in a list are done too, and counted")
        func afterSetLDT() {
            let guest = XenMachine()
            guest.write([13, XenMachine.records + 0x1000, 8, 15, 70, 0])
            let done = XenMachine.records + 0x800
            let answer = guest.call(Hypercall.mmuExtended, XenMachine.records, 2, done, domainSelf)
            #expect(answer.result == 0 && guest.word32(0x800) == 2)
            #expect(guest.vcpu().page.pointee.cr3_user != 0)
        }

        @Test("a call in a read-only list leaves to the module what it has to do, result or not")
        func readOnlyList() {
            let guest = XenMachine()
            let readOnly = XenMachine.records + 0x10_0000
            var none: [Int] = []
            guest.machine.map(readOnly, to: 40, root: 1, tables: &none, bits: 0x5)
            guest.write([Hypercall.mmuExtended, 0, XenMachine.records + 0x800, 1, 0, domainSelf])
            guest.write([13, XenMachine.records + 0x1000, 8], at: 0x800)
            let answer = guest.call(Hypercall.multicall, readOnly, 1)
            #expect(answer.result == -14)
            #expect(answer.exits.contains(PENUMBRA_EXIT_SLICE), "the LDT is loaded on the way in")
        }

        @Test("the map of machine frames is the identity: only that can be asked for")
        func identity() {
            let guest = XenMachine()
            guest.write([77 << 12 | 1, 77])
            #expect(guest.call(Hypercall.mmuUpdate, XenMachine.records, 1, 0, domainSelf).result == 0)
            guest.write([77 << 12 | 1, 78])
            #expect(guest.call(Hypercall.mmuUpdate, XenMachine.records, 1, 0, domainSelf).result == -22)
        }

        @Test("multicall: each result beside its call, an inner list in slices, the rest goes on")
        func multicalls() {
            let guest = XenMachine()
            func entry(_ index: UInt64, _ words: [UInt64]) { guest.write(words, at: index * 64) }
            for index in 0..<100 as Range<UInt64> {
                guest.write([60 << 12 | index << 3, index << 12 | 0x67], at: 0x2000 + index * 16)
            }
            entry(0, [Hypercall.version, 7, 0])
            entry(1, [Hypercall.mmuUpdate, 7, XenMachine.records + 0x2000, 100, 0, domainSelf])
            entry(2, [63, 7])
            entry(3, [Hypercall.scheduler, 7, 1])
            entry(4, [Hypercall.multicall, 7, XenMachine.records, 1])
            let answer = guest.call(Hypercall.multicall, XenMachine.records, 5)
            #expect(answer.result == 0)
            let results = (0..<5 as Range<UInt64>).map { Int64(bitPattern: guest[$0 * 64 + 8]) }
            #expect(results == [4 << 16 | 17, 0, -38, -38, -38])
            #expect(guest.machine.entry(60, 99) == 99 << 12 | 0x67)
            #expect(answer.exits.contains(PENUMBRA_EXIT_SLICE))
            guest.check()
        }

        @Test("the balloon's lists are done in slices too, up to the first frame that is not the guest's")
        func balloon() {
            let guest = XenMachine()
            for index in 0..<200 as Range<UInt64> { guest[0x1000 + index * 8] = 100 + index }
            guest.write([XenMachine.records + 0x1000, 200, 0, domainSelf])
            for command in [1, 6] as [UInt64] {
                let answer = guest.call(Hypercall.memoryOperation, command, XenMachine.records)
                #expect(answer.result == 200)
                #expect(answer.exits.filter { $0 == PENUMBRA_EXIT_SLICE }.count == 3)
            }
            guest[0x1000 + 8 * 70] = UInt64(XenMachine.ram)
            #expect(guest.call(Hypercall.memoryOperation, 1, XenMachine.records).result == 70)
            guest.write([XenMachine.records + 0x7f00, .max, 0, domainSelf])
            #expect(
                guest.call(Hypercall.memoryOperation, 6, XenMachine.records).result == 32, "the list's end")
            guest.check()
        }

        @Test("lists in a multicall share its slice")
        func sharedSlice() {
            let guest = XenMachine()
            for index in 0..<40 as Range<UInt64> {
                guest.write([60 << 12 | index << 3, index << 12 | 0x67], at: 0x2000 + index * 16)
                guest.write(
                    [Hypercall.mmuUpdate, 0, XenMachine.records + 0x2000, 40, 0, domainSelf], at: index * 64)
            }
            let answer = guest.call(Hypercall.multicall, XenMachine.records, 40)
            #expect(answer.result == 0)
            #expect(answer.exits.filter { $0 == PENUMBRA_EXIT_SLICE }.count >= 19)
        }

        @Test("roots lead to the map, and a frame that is none of the VM's is refused")
        func roots() {
            let guest = XenMachine()
            let tables = UInt64(xenpv_m2p_tables_frame(UInt32(XenMachine.ram)))
            #expect(guest.machine.entry(1, 256) >> 12 == tables)
            guest.write([5, 70, 0])
            #expect(guest.call(Hypercall.mmuExtended, XenMachine.records, 1, 0, domainSelf).result == 0)
            #expect(guest.machine.entry(70, 256) >> 12 == tables)
            for frame in [UInt64(guest.machine.frames), 1 << 32 | 70, .max] {
                for command in [0, 4, 5, 15] as [UInt64] {
                    // The guest's tables do not show the records any more: a new root shows them.
                    guest.machine.setEntry(70, 273, guest.machine.entry(1, 273))
                    guest.write([command, frame, 0])
                    #expect(
                        guest.call(Hypercall.mmuExtended, XenMachine.records, 1, 0, domainSelf).result == -22)
                }
            }
            guest.check()
        }
    }

    @Suite struct XenPVDescriptors {
        @Test("handlers in the hole are refused, and those before them stay")
        func traps() {
            let guest = XenMachine()
            let handler: UInt64 = 0xffff_ffff_8100_0000
            guest.write([3 | 3 << 8 | 0xe033 << 16, handler, 6, UInt64(PENUMBRA_HOLE_START), 0, 0])
            #expect(guest.call(Hypercall.setTrapTable, XenMachine.records).result == -22)
            #expect(guest.vcpu().gate(3).address == handler && guest.vcpu().gate(3).flags == 3)
            #expect(guest.vcpu().gate(6).address == 0)
            #expect(guest.call(Hypercall.setTrapTable, 0).result == 0)
            #expect(guest.vcpu().gate(3).address == 0)
        }

        @Test("a table without an end has 256 entries at most")
        func endlessTraps() {
            let guest = XenMachine()
            for index in 0..<257 as Range<UInt64> { guest.write([3, 0x1000], at: index * 16) }
            #expect(guest.call(Hypercall.setTrapTable, XenMachine.records).result == -22)
        }

        @Test("the live table has privilege 3 alone, and follows updates of the guest's")
        func descriptors() {
            let guest = XenMachine()
            let ring0: UInt64 = 0x00cf_9300_0000_ffff
            let frame: UInt64 = 62
            guest.machine.setEntry(Int(frame), 20, ring0)
            guest[0] = frame
            #expect(guest.call(Hypercall.setGDT, XenMachine.records, 513).result == -22)
            #expect(guest.call(Hypercall.setGDT, XenMachine.records, 32).result == 0)
            #expect(guest.vcpu().liveDescriptor(20 << 3)?.value == ring0 | 3 << 45 | 1 << 40)
            #expect(guest.call(Hypercall.updateDescriptor, frame << 12 | 20 << 3, 0).result == 0)
            #expect(guest.vcpu().liveDescriptor(20 << 3)?.isReadable == false)
            let gate: UInt64 = 0x0000_ec00_0010_0000
            #expect(guest.call(Hypercall.updateDescriptor, frame << 12 | 20 << 3, gate).result == -22)
            guest.check()
        }

        @Test("no selector of the core's own segments loads")
        func ownSegments() {
            #expect(!SegmentDescriptor(value: 0x00cf_9300_0000_ffff).isReadable)
            #expect(SegmentDescriptor(value: 0x00cf_f300_0000_ffff).isReadable)
            #expect(!SegmentDescriptor(value: 0x00cf_7300_0000_ffff).isReadable, "absent")
            #expect(!SegmentDescriptor(value: 0x00af_f900_0000_ffff).isReadable, "code that cannot be read")
        }

        @Test("an LDT is copied sanitised, and one in the hole is refused")
        func localDescriptors() {
            let guest = XenMachine()
            guest[0x1000] = 0x00cf_9300_0000_ffff
            func set(_ address: UInt64, _ count: UInt64) -> Int64 {
                guest.write([13, address, count])
                return guest.call(Hypercall.mmuExtended, XenMachine.records, 1, 0, domainSelf).result
            }
            #expect(set(XenMachine.records + 0x1000, 8) == 0)
            #expect(guest.vcpu().liveDescriptor(4)?.isReadable == true)
            #expect(guest.vcpu().liveDescriptor(8 << 3 | 4) == nil, "beyond its end")
            #expect(set(UInt64(PENUMBRA_HOLE_START), 8) == -22)
            #expect(set(XenMachine.records + 0x1000, 8193) == -22)
            #expect(set(XenMachine.records + 0x1008, 8) == -22)
            #expect(set(0, 0) == 0)
            #expect(guest.vcpu().liveDescriptor(4) == nil)
        }

        @Test("stacks and callbacks in the hole are refused")
        func entries() {
            let guest = XenMachine()
            let hole = UInt64(PENUMBRA_HOLE_START)
            #expect(guest.call(Hypercall.stackSwitch, 0xe02b, hole).result == -22)
            guest.write([0, hole])
            #expect(guest.call(Hypercall.callback, 0, XenMachine.records).result == -22)
            guest.write([0, 0x1000])
            #expect(guest.call(Hypercall.callback, 0, XenMachine.records).result == 0)
            #expect(guest.vcpu().state.pointee.eventCallback == 0x1000)
            #expect(guest.call(Hypercall.callback, 1, XenMachine.records).result == 0)
            #expect(guest.vcpu().state.pointee.eventCallback == 0)
        }
    }

    @Suite struct XenPVEvents {
        private func allocate(_ guest: XenMachine) -> UInt64 {
            guest.write([domainSelf])
            #expect(guest.call(Hypercall.eventChannel, 6, XenMachine.records).result == 0)
            return UInt64(guest.word32(4))
        }

        private func bind(_ guest: XenMachine, between vcpu: UInt64) -> UInt64 {
            guest.write([vcpu])
            #expect(guest.call(Hypercall.eventChannel, 7, XenMachine.records).result == 0)
            return UInt64(guest.word32(4))
        }

        private func command(_ guest: XenMachine, _ command: UInt64, _ port: UInt64) -> Int64 {
            guest.write([port])
            return guest.call(Hypercall.eventChannel, command, XenMachine.records).result
        }

        @Test("a port that is raised is pending, selected and upcalled, once until it is taken")
        func raise() {
            let guest = XenMachine()
            let port = bind(guest, between: 0)
            #expect(port == UInt64(XENPV_PORT_FIRST_FREE))
            #expect(command(guest, 4, port) == 0)
            #expect(guest.isPending(port) && guest.selector() == 1 && guest.isUpcalled())
            ccore_store8(guest.info(0), 0)
            #expect(command(guest, 4, port) == 0)
            #expect(!guest.isUpcalled(), "it is pending already")
        }

        @Test("a masked port waits, and comes when it is unmasked")
        func masked() {
            let guest = XenMachine()
            let port = bind(guest, between: 0)
            guest.setMask(port)
            #expect(command(guest, 4, port) == 0)
            #expect(guest.isPending(port) && guest.selector() == 0 && !guest.isUpcalled())
            #expect(command(guest, 9, port) == 0)
            #expect(guest.selector() == 1 && guest.isUpcalled())
        }

        @Test("sending to another vCPU kicks it, and it alone is selected")
        func others() {
            let guest = XenMachine(vcpus: 2)
            let port = bind(guest, between: 1)
            guest.write([port])
            let answer = guest.call(Hypercall.eventChannel, 4, XenMachine.records)
            #expect(answer.exits == [PENUMBRA_EXIT_KICK])
            #expect(guest.isUpcalled(1) && !guest.isUpcalled(0))
            #expect(guest.vcpu(1).takeAttention(PENUMBRA_ATTENTION_EVENT))
        }

        @Test("the VMM's ports leave the world; it hears of a send by its eventfd")
        func notify() {
            let guest = XenMachine()
            guest.write([UInt64(XENPV_PORT_CONSOLE)])
            #expect(guest.call(Hypercall.eventChannel, 4, XenMachine.records).exits == [PENUMBRA_EXIT_NOTIFY])
            #expect(guest.vcpu().page.pointee.exit_arg.0 == UInt64(XENPV_PORT_CONSOLE))
        }

        @Test("a virtual interrupt has one port; closed, it can be bound again")
        func virtualInterrupts() {
            let guest = XenMachine()
            func bindTimer() -> Int64 {
                guest.write([0, 0])
                return guest.call(Hypercall.eventChannel, 1, XenMachine.records).result
            }
            #expect(bindTimer() == 0)
            let port = UInt64(guest.word32(8))
            #expect(XenPV.timerExpired(guest.vcpu()) == 0)
            #expect(guest.isPending(port))
            #expect(bindTimer() == -17)
            #expect(command(guest, 3, port) == 0)
            #expect(!guest.isPending(port), "closed ports have nothing pending")
            #expect(bindTimer() == 0)
            guest.write([24, 0])
            #expect(guest.call(Hypercall.eventChannel, 1, XenMachine.records).result == -22)
        }

        @Test("numbers that are no open port are refused by every command")
        func wild() {
            let guest = XenMachine()
            for port in [0, 100, UInt64(PENUMBRA_MAX_PORTS), 0xffff_ffff] {
                for number in [3, 4, 9] as [UInt64] {
                    #expect(command(guest, number, port) == -22, "\(number)")
                }
            }
            guest.write([1 << 32 | UInt64(XENPV_PORT_CONSOLE)])
            #expect(guest.call(Hypercall.eventChannel, 8, XenMachine.records).result == -2, "no vCPU 1")
            guest.write([7])
            #expect(guest.call(Hypercall.eventChannel, 7, XenMachine.records).result == -2)
        }

        @Test("ports run out, and come back")
        func exhaustion() {
            let guest = XenMachine()
            let first = allocate(guest)
            for _ in Int(first) + 1..<Int(PENUMBRA_MAX_PORTS) { _ = allocate(guest) }
            guest.write([domainSelf])
            #expect(guest.call(Hypercall.eventChannel, 6, XenMachine.records).result == -28)
            #expect(command(guest, 3, 77) == 0)
            #expect(allocate(guest) == 77)
        }

        @Test("whatever the interleaving of raisers and the guest, no event is lost")
        func interleaved() {
            let guest = XenMachine()
            let ports = (0..<3).map { _ in bind(guest, between: 0) }
            let rounds = 20_000
            let consumer = Consumer(guest)
            nonisolated(unsafe) let vcpu = guest.vcpu()
            let group = DispatchGroup()
            for port in ports {
                group.enter()
                Thread.detachNewThread {
                    for _ in 0..<rounds {
                        _ = XenPV.raise(port, on: vcpu, by: vcpu)
                        consumer.waitUntilTaken(port)
                    }
                    group.leave()
                }
            }
            consumer.takeAll(rounds * ports.count)
            group.wait()
            #expect(consumer.taken == rounds * ports.count)
            #expect(!consumer.gaveUp)
        }
    }
}

/// The guest's side of two-level events, in the order that Linux does it: pending byte, selector, bits.
private final class Consumer: @unchecked Sendable {
    private let info: UInt
    private let pending: UInt
    private(set) var taken = 0
    private(set) var gaveUp = false
    private let patience = DispatchTime.now() + .seconds(60)

    init(_ guest: XenMachine) {
        info = guest.info(0)
        pending = guest.shared + UInt(XENPV_SHARED_PENDING)
    }

    func takeAll(_ count: Int) {
        while taken < count && !isLate {
            guard ccore_exchange8(info, 0) != 0 else { continue }
            guard ccore_exchange64(info + 8, 0) & 1 != 0 else { continue }
            let bits = ccore_load64(pending)
            taken += bits.nonzeroBitCount
            _ = ccore_fetch_and64(pending, ~bits)
        }
    }

    func waitUntilTaken(_ port: UInt64) {
        while ccore_load64(pending) >> port & 1 != 0 && !isLate { sched_yield() }
    }

    private var isLate: Bool {
        if DispatchTime.now() > patience { gaveUp = true }
        return gaveUp
    }
}
