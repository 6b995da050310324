// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The vCPU as the core's Swift sees it: two pages behind plain accessors. `page` is the
// vCPU page that assembly and module share (interface/penumbra/vcpu.h), `state` what only
// the core knows. Both are mapped for as long as the VM lives, at addresses that the id
// gives; ids come from the module and from `VCPU.other`, which bounds them.

import CCore
import CPenumbra

/// What the core keeps per vCPU beside the shared page; zero is the valid beginning.
struct VCPUState {
    /// A `Stage`. First, because it is moved on by compare and exchange.
    var stage: UInt32
    /// It is up, but was not in its guest yet.
    var awaitsStart: Bool
    /// What it starts with, from whoever brought it up.
    var initial: InitialRegisters
    /// Guest-physical address of vcpu_info and where the core reaches it; 0: none yet.
    var infoAddress: UInt64
    var info: UInt
    var kernelStack: UInt64
    var eventCallback: UInt64
    var syscallCallback: UInt64
    /// The same for `syscall` of 32-bit code.
    var syscall32Callback: UInt64
    var failsafeCallback: UInt64
    /// The guest's descriptor tables, of which the live ones are copies: the GDT's frame and
    /// entries, the LDT's address and entries; no entries: no table.
    var descriptorFrame: UInt32
    var descriptorCount: UInt32
    var localDescriptors: UInt64
    var localDescriptorCount: UInt32
    /// Ports of this vCPU's virtual interrupts, 0: none.
    var virqPorts: InlineArray<24, UInt32>
    /// The port that it polls, or `Pollers.anyPort`; counts while it is one of the pollers.
    var polledPort: UInt32
    /// Where the guest wants its run state told, 0: nowhere.
    var runStateAddress: UInt64
    /// Guest time in ns: since when it sleeps, 0: it does not; how long it slept in all while it was
    /// up, and while it was not; how much of the stolen time the guest knows.
    var idleSince: UInt64
    var blockedTime: UInt64
    var offlineTime: UInt64
    var stolenTime: UInt64
    var sleepsOffline: Bool
    /// Where the last page fault was, and how often in a row nothing else came between.
    var lastFaultRIP: UInt64
    var lastFaultAddress: UInt64
    var earlierFaultAddress: UInt64
    var repeatedFaults: UInt32
    var isHalted: Bool
    var awaitsAnswer: Bool
    /// The guest has chosen a place for vcpu_info.
    var hasMovedInfo: Bool
}

struct VCPU {
    let page: UnsafeMutablePointer<penumbra_vcpu>

    @inline(__always) init(_ page: UnsafeMutablePointer<penumbra_vcpu>) { self.page = page }

    @inline(__always) private var stride: UInt {
        UInt(bitPattern: page) &- UInt(PENUMBRA_VCPU_PAGE)
    }

    @inline(__always) var state: UnsafeMutablePointer<VCPUState> {
        UnsafeMutablePointer(bitPattern: stride &+ UInt(PENUMBRA_VCPU_STATE)).unsafelyUnwrapped
    }

    /// The gates: 256 of 16 bytes, in the second page of the state.
    @inline(__always) private func gateAddress(_ vector: UInt64) -> UInt {
        precondition(vector < 256)
        return stride &+ UInt(PENUMBRA_VCPU_STATE) &+ 4096 &+ UInt(vector) &* 16
    }

    @inline(__always) func gate(_ vector: UInt64) -> Gate {
        let address = gateAddress(vector)
        return Gate(address: ccore_load64(address), flags: ccore_load64(address &+ 8))
    }

    func setGate(_ vector: UInt64, _ gate: Gate) {
        let address = gateAddress(vector)
        ccore_store64(address, gate.address)
        ccore_store64(address &+ 8, gate.flags)
    }

    @inline(__always) var id: UInt32 { page.pointee.id }

    /// Another vCPU of this VM, if there is one of that number.
    func other(_ id: UInt64) -> VCPU? {
        guard id < UInt64(vmPage.pointee.vcpu_count), id < UInt64(PENUMBRA_MAX_VCPUS) else { return nil }
        #if hasFeature(Embedded)
            let first = UInt(PENUMBRA_CORE_VCPUS) &+ UInt(PENUMBRA_VCPU_PAGE)
        #else
            let first = UInt(bitPattern: page) &- UInt(self.id) &* UInt(PENUMBRA_VCPU_STRIDE)
        #endif
        let address = first &+ UInt(id) &* UInt(PENUMBRA_VCPU_STRIDE)
        return VCPU(UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped)
    }

    /// The run page is the VMM's to write too: nothing read from it is trusted.
    @inline(__always) var run: UnsafeMutablePointer<penumbra_run> {
        let address = Windows.vm &+ (UInt(PENUMBRA_VM_PAGES) &+ UInt(id)) &* 4096
        return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
    }
    @inline(__always) var runData: UInt {
        UInt(bitPattern: run) &+ UInt(PENUMBRA_RUN_OFFSET_DATA)
    }

    // MARK: counters

    @inline(__always) private var countersBase: UInt {
        UInt(bitPattern: page) &+ UInt(PENUMBRA_VCPU_OFFSET_COUNTER)
    }
    @inline(__always) func count(_ counter: penumbra_counter) {
        let address = countersBase &+ UInt(counter.rawValue) &* 8
        ccore_store64(address, ccore_load64(address) &+ 1)
    }
    func counter(_ index: UInt64) -> UInt64? {
        index < UInt64(PENUMBRA_COUNTER_COUNT) ? ccore_load64(countersBase &+ UInt(index) &* 8) : nil
    }

    @inline(__always) var memory: ShadowMemory {
        ShadowMemory(vcpu: id, counters: Counters(base: countersBase))
    }

    // MARK: attention

    @inline(__always) private func attentionAddress(_ which: Int32) -> UInt {
        UInt(bitPattern: page) &+ UInt(PENUMBRA_VCPU_OFFSET_ATTENTION)
            &+ UInt(which)
    }
    /// Asks this vCPU to come through the core before it returns to its guest.
    func raiseAttention(_ which: Int32) {
        ccore_store8(attentionAddress(which), 1)
    }
    @inline(__always) func takeAttention(_ which: Int32) -> Bool {
        ccore_load8(attentionAddress(which)) != 0 && ccore_exchange8(attentionAddress(which), 0) != 0
    }
    @inline(__always) func hasAttention(_ which: Int32) -> Bool {
        ccore_load8(attentionAddress(which)) != 0
    }

    // MARK: debug registers and descriptors

    func debugRegister(_ index: UInt64) -> UInt64 {
        ccore_load64(debugRegisterAddress(index))
    }
    func setDebugRegister(_ index: UInt64, _ value: UInt64) {
        ccore_store64(debugRegisterAddress(index), value)
    }
    private func debugRegisterAddress(_ index: UInt64) -> UInt {
        precondition(index < 8)
        return UInt(bitPattern: page)
            &+ UInt(PENUMBRA_VCPU_OFFSET_DEBUG_REGISTER)
            &+ UInt(index) &* 8
    }

    /// An entry of the guest's GDT goes into the live one's first page, sanitised. Slots 0, 2
    /// and 3 (the core's CS and SS), 8 and 9 (the host's TSS) are not for guests.
    /// - Returns: whether it is there.
    @discardableResult
    func setGuestDescriptor(_ index: UInt64, _ descriptor: UInt64) -> Bool {
        let isReserved = index == 0 || index == 2 || index == 3 || index == 8 || index == 9
        guard index < 512, !isReserved, let descriptor = SegmentDescriptor(value: descriptor).sanitised
        else { return false }
        ccore_store64(stride &+ UInt(PENUMBRA_VCPU_GDT) &+ UInt(index) &* 8, descriptor.value)
        return true
    }

    /// The same for the LDT; what is refused becomes absent.
    func setLocalDescriptor(_ index: UInt64, _ descriptor: UInt64) {
        precondition(index < 8192)
        let sanitised = SegmentDescriptor(value: descriptor).sanitised
        ccore_store64(stride &+ UInt(PENUMBRA_VCPU_LDT) &+ UInt(index) &* 8, sanitised?.value ?? 0)
    }

    /// Sets how much of the LDT there is, in its descriptor; loaded at the next world entry.
    func setLDT(count: UInt64) {
        precondition(count <= 8192)
        let slot = stride &+ UInt(PENUMBRA_VCPU_GDT) &+ UInt(PENUMBRA_SEL_CORE_LDT)
        let base = UInt64(stride) &+ UInt64(PENUMBRA_VCPU_LDT)
        let limit = count == 0 ? 0 : count &* 8 &- 1
        // Present, type 2 (LDT), DPL 0 (Intel SDM vol. 3, 7.2.3 and figure 3-8).
        let low = limit & 0xffff | (base & 0xff_ffff) << 16 | 0x82 << 40 | (base >> 24 & 0xff) << 56
        ccore_store64(slot, low)
        ccore_store64(slot &+ 8, base >> 32)
        page.pointee.sel_ldt = count == 0 ? 0 : UInt64(PENUMBRA_SEL_CORE_LDT)
    }

    /// A descriptor of the live tables that a selector of the guest's names.
    func liveDescriptor(_ selector: UInt64) -> SegmentDescriptor? {
        let index = selector >> 3
        if selector & 4 != 0 {
            guard index < UInt64(state.pointee.localDescriptorCount) else { return nil }
            return SegmentDescriptor(
                value: ccore_load64(stride &+ UInt(PENUMBRA_VCPU_LDT) &+ UInt(index) &* 8))
        }
        let isGuests = index < 512 || selector | 3 == UInt64(PENUMBRA_SEL_GUEST_SS)
        guard isGuests else { return nil }
        return SegmentDescriptor(value: ccore_load64(stride &+ UInt(PENUMBRA_VCPU_GDT) &+ UInt(index) &* 8))
    }

    // MARK: the shared event bytes of vcpu_info

    @inline(__always) var eventsPending: Bool {
        ccore_load8(state.pointee.info &+ UInt(PTEST_INFO_PENDING)) != 0
    }
    @inline(__always) var eventsMasked: Bool {
        ccore_load8(state.pointee.info &+ UInt(PTEST_INFO_MASK)) != 0
    }
    @inline(__always) func setEventsMasked(_ masked: Bool) {
        ccore_store8(state.pointee.info &+ UInt(PTEST_INFO_MASK), masked ? 1 : 0)
    }
    func setEventsPending() {
        ccore_store8(state.pointee.info &+ UInt(PTEST_INFO_PENDING), 1)
    }
    @inline(__always) func setFaultAddress(_ address: UInt64) {
        ccore_store64(state.pointee.info &+ UInt(PTEST_INFO_CR2), address)
    }
    var guestFaultAddress: UInt64 {
        state.pointee.info == 0 ? 0 : ccore_load64(state.pointee.info &+ UInt(PTEST_INFO_CR2))
    }

    /// A pending bit of ports 0 to 63, and the byte that says so.
    func setPending(port: UInt64) {
        _ = ccore_fetch_or64(state.pointee.info &+ UInt(PTEST_INFO_PORTS), 1 << (port & 63))
        setEventsPending()
    }

    /// The guest's view of the clock, once: it never changes while the VM lives.
    func publishClock() {
        let clock = vmPage.pointee.clock
        let time = state.pointee.info &+ UInt(PTEST_INFO_TIME)
        ccore_store32(time, 1)
        ccore_store64(time &+ 8, clock.tsc_base)
        ccore_store64(time &+ 16, 0)
        ccore_store32(time &+ 24, clock.mul)
        ccore_store8(time &+ 28, UInt8(truncatingIfNeeded: clock.shift))
        ccore_store8(time &+ 29, 1)  // the TSC is the same on every vCPU
        ccore_store32(time, 2)
    }
}

/// A guest's handler for one vector.
struct Gate {
    let address: UInt64
    let flags: UInt64

    /// The least privileged guest mode that may use it with INT n.
    func allowsSoftware(from mode: GuestMode) -> Bool {
        mode == .kernel ? flags & 3 >= 1 : flags & 3 == 3
    }
    @inline(__always) var masksEvents: Bool { flags & 4 != 0 }
}
