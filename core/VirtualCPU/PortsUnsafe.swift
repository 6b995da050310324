// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The port tables of the VM page, shared with the module: `posted`, which it sets and the
// core takes, and `port_vcpu`, which the core writes and the module reads with bounds.

import CCore
import CPenumbra

enum Ports {
    private static func bindingAddress(_ port: UInt64) -> UInt {
        precondition(port < UInt64(PENUMBRA_MAX_PORTS))
        return Windows.vm &+ UInt(PENUMBRA_VM_OFFSET_PORT_VCPU)
            &+ UInt(port) &* 2
    }

    private static func postedAddress(_ word: UInt64) -> UInt {
        precondition(word < UInt64(PENUMBRA_MAX_PORTS) / 64)
        return Windows.vm &+ UInt(PENUMBRA_VM_OFFSET_POSTED)
            &+ UInt(word) &* 8
    }

    /// The vCPU that a port is bound to; PENUMBRA_NO_VCPU: none.
    static func vcpu(of port: UInt64) -> UInt64 { UInt64(ccore_load16(bindingAddress(port))) }

    static func bind(_ port: UInt64, to vcpu: UInt16) { ccore_store16(bindingAddress(port), vcpu) }

    /// Takes the posted ones of ports 64 * word to 64 * word + 63 that are bound to this vCPU;
    /// others' stay.
    static func takePosted(for id: UInt32, word: UInt64) -> UInt64 {
        var candidates = ccore_load64(postedAddress(word))
        if candidates == 0 { return 0 }
        var mine: UInt64 = 0
        while candidates != 0 {
            let bit = UInt64(candidates.trailingZeroBitCount)
            if vcpu(of: word << 6 | bit) == UInt64(id) { mine |= 1 << bit }
            candidates &= candidates &- 1
        }
        return ccore_fetch_and64(postedAddress(word), ~mine) & mine
    }
}

#if PENUMBRA_DEBUG
    /// Makes one shadow leaf name a page that its frame does not have: the checker must see it.
    @inline(never)
    func plantBrokenInvariant(_ memory: ShadowMemory) -> Bool {
        var index: UInt32 = 1
        while index < vmPage.pointee.pool_pages {
            let page = descriptorPointer(index)
            if page.pointee.kind == .shadow && page.pointee.level == 1 {
                var slot: UInt = 0
                while slot < 512 {
                    let address = Windows.pool &+ UInt(index) &* 4096 &+ slot &* 8
                    let entry = ccore_load64(address)
                    if entry & 1 != 0 {
                        ccore_store64(address, entry ^ 0x1000)
                        return true
                    }
                    slot += 1
                }
            }
            index += 1
        }
        return false
    }

    /// Bugs for tests to plant: each must end this VM, with its reason, and nothing else.
    @inline(never)
    func plantBug(_ kind: UInt64) {
        switch Int32(clamping: kind) {
        case PTEST_PLANT_TRAP:
            var sum = UInt64.max &- kind
            sum += 1
            sum += ccore_rdtsc() | 1
            ccore_store64(Windows.vm, sum)
        case PTEST_PLANT_POINTER: _ = ccore_load64(UInt(PENUMBRA_CORE_RAM) &- 4096)
        case PTEST_PLANT_GP: _ = ccore_load64(0x8000_0000_0000_0000)
        case PTEST_PLANT_STACK: ccore_overflow_stack()
        case PTEST_PLANT_LOOP: while true { ccore_pause() }
        case PTEST_PLANT_WRITE: ccore_store8(UInt(PENUMBRA_CORE_IMAGE), 0)
        default: return
        }
    }
#endif
