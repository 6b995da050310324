// SPDX-License-Identifier: Apache-2.0
// The shared vcpu_info, events and the clock.
import CKit

/// This vCPU's vcpu_info.
enum Info {
    static func address(of cpu: UInt64) -> UInt64 { vm.info_address + 64 * cpu }
    static var address: UInt64 { address(of: kit_cpu_id()) }

    static var pending: Bool {
        get { kit_load8(address + UInt64(PTEST_INFO_PENDING)) != 0 }
        set { kit_store8(address + UInt64(PTEST_INFO_PENDING), newValue ? 1 : 0) }
    }
    static var mask: Bool {
        get { kit_load8(address + UInt64(PTEST_INFO_MASK)) != 0 }
        set { kit_store8(address + UInt64(PTEST_INFO_MASK), newValue ? 1 : 0) }
    }
    static var cr2: UInt64 { kit_load64(address + UInt64(PTEST_INFO_CR2)) }
    static var portsAddress: UInt64 { address + UInt64(PTEST_INFO_PORTS) }
}

enum Events {
    /// Takes the pending ports of this vCPU: the event callback's work. Counted last: whoever
    /// sends again on seeing the count must find the pending byte clear, or that event is lost in
    /// this one.
    static func collect() {
        takePorts()
        _ = kit_add64(field(KIT_CPU_EVENTS), 1)
    }

    static func takePorts() {
        Info.pending = false
        kit_fence()
        let ports = kit_exchange64(Info.portsAddress, 0)
        kit_store64(field(KIT_CPU_PORTS), kit_load64(field(KIT_CPU_PORTS)) | ports)
        if ports & 1 << UInt64(PTEST_PORT_TIMER) != 0 {
            _ = kit_add64(field(KIT_CPU_TIMER_EVENTS), 1)
        }
    }

    /// Sets the mask as Linux does: what came while events were masked is asked for.
    static func setMask(_ masked: Bool) {
        Info.mask = masked
        kit_fence()
        if !masked && Info.pending {
            hypercall(PTEST_NOOP)
        }
    }

    static var taken: UInt64 { kit_load64(field(KIT_CPU_EVENTS)) }
    static var timers: UInt64 { kit_load64(field(KIT_CPU_TIMER_EVENTS)) }
    /// Ports that callbacks have seen since the last call.
    static func collected() -> UInt64 { kit_exchange64(field(KIT_CPU_PORTS), 0) }

    private static func field(_ offset: Int) -> UInt64 { kit_cpu_address(kit_cpu_id()) + UInt64(offset) }

    static func bind(_ port: UInt64, to cpu: UInt64) {
        equal(hypercall(PTEST_BIND, port, cpu), 0, "bind a port")
    }

    static func send(_ port: UInt64) {
        equal(hypercall(PTEST_SEND, port), 0, "send to a port")
    }
}

/// The guest's clock, in ns: pvclock (Linux: Documentation/virt/kvm/x86/msr.rst).
enum Clock {
    static var now: UInt64 {
        let area = Info.address + UInt64(PTEST_INFO_TIME)
        while true {
            let version = kit_load32(area)
            kit_fence()
            let tsc = kit_load64(area + 8)
            let base = kit_load64(area + 16)
            let scale = kit_load64(area + 24)
            let delta = kit_rdtsc() &- tsc
            kit_fence()
            if version & 1 == 0 && version == kit_load32(area) {
                return base &+ scaled(delta, scale)
            }
        }
    }

    /// `scale`: multiplier in bits 31..0, signed shift in bits 39..32.
    static func scaled(_ delta: UInt64, _ scale: UInt64) -> UInt64 {
        let shift = Int8(truncatingIfNeeded: scale >> 32)
        let ticks = shift < 0 ? delta >> UInt64(-Int64(shift)) : delta << UInt64(shift)
        let product = ticks.multipliedFullWidth(by: scale & 0xffff_ffff)
        return product.high << 32 | product.low >> 32
    }

    static let millisecond: UInt64 = 1_000_000
    static let second: UInt64 = 1_000_000_000

    static func setTimer(_ deadline: UInt64) {
        equal(hypercall(PTEST_SET_TIMER, deadline), 0, "set timer")
    }
}
