// SPDX-License-Identifier: Apache-2.0
// Ports that are none or too many, interrupts and vCPUs that are none, shared_info and the grant table
// full of noise, alarms at every wrong time.
// Attack: events and grants
// Expect: exit 0
import XenKit

private enum Event {
    static let bindInterrupt: UInt64 = 1
    static let close: UInt64 = 3
    static let send: UInt64 = 4
    static let status: UInt64 = 5
    static let allocate: UInt64 = 6
    static let bindBetweenCPUs: UInt64 = 7
    static let bindVCPU: UInt64 = 8
    static let unmask: UInt64 = 9
}

private let record = xenpv_scratch_address()

/// A command whose record begins with these two words of 32 bits.
@discardableResult
private func event(_ command: UInt64, _ low: UInt64, _ high: UInt64 = 0) -> Int64 {
    kit_store64(record, low & 0xffff_ffff | high << 32)
    kit_store64(record + 8, 0)
    return call(Call.eventChannel, command, record)
}

func guestMain() {
    Arena.open()
    wildPorts()
    wildTargets()
    let ports = exhaust()
    lostResults()
    check(exhaust() == ports, "no port was lost")
    virtualInterrupts()
    noise()
    grants()
    alarms()
    check(event(Event.allocate, domainSelf) == 0, "a port still")
    check(event(Event.close, 1) == 0 && event(Event.close, 2) == 0, "xenstore's and the console's ports")
    check(event(Event.send, 1) == Refused.invalid, "closed")
}

private func wildPorts() {
    forEach([0, 3, 4095, 4096, 4097, 1 << 16, 0x7fff_ffff, 0xffff_ffff]) { port in
        forEach([Event.close, Event.send, Event.unmask, Event.bindVCPU]) { command in
            check(event(command, port) < 0, "a port that is not open")
        }
        let result = event(Event.status, domainSelf, port)
        check(result == Refused.invalid || result == 0 && kit_load32(record + 8) == 0, "its status")
    }
    check(event(Event.status, 0, 1) == Refused.notPermitted, "another domain's port")
}

private func wildTargets() {
    forEach([1, 7, 8, 31, 32, 63, 64, 0xffff, 0xffff_ffff]) { vcpu in
        check(event(Event.bindBetweenCPUs, vcpu) == Refused.noEntry, "a vCPU that is none")
        check(event(Event.bindInterrupt, 1, vcpu) == Refused.noEntry, "the same for an interrupt")
        check(event(Event.bindVCPU, 1, vcpu) == Refused.noEntry, "the same for a port")
        check(call(Call.vcpu, 3, vcpu, record) == Refused.noEntry, "the same for a question")
    }
}

/// Takes all ports there are, then closes them.
private func exhaust() -> UInt64 {
    var first: UInt64 = 0
    var count: UInt64 = 0
    var result = event(Event.allocate, domainSelf)
    while result == 0 {
        if count == 0 { first = UInt64(kit_load32(record + 4)) }
        count += 1
        result = event(count & 1 == 0 ? Event.allocate : Event.bindBetweenCPUs, 0)
    }
    check(result == Refused.noSpace, "ports run out")
    check(event(Event.bindInterrupt, 2) == Refused.noSpace, "for interrupts too")
    for port in first..<first + count {
        check(event(Event.close, port) == 0, "a port closes")
        check(event(Event.close, port) == Refused.invalid, "once")
    }
    return count
}

/// Ports whose number cannot be stored are given back.
private func lostResults() {
    let map = UInt64(XENPV_M2P_START)
    for _ in 0..<5000 as Range<UInt64> {
        check(call(Call.eventChannel, Event.allocate, map) == Refused.fault, "a number without a place")
    }
}

private func virtualInterrupts() {
    forEach([24, 25, 64, 255, 256, 0xffff_ffff]) { interrupt in
        check(event(Event.bindInterrupt, interrupt) == Refused.invalid, "an interrupt that is none")
    }
    for interrupt in 0..<24 as Range<UInt64> {
        check(event(Event.bindInterrupt, interrupt) == 0, "bound")
        let port = UInt64(kit_load32(record + 8))
        check(event(Event.bindInterrupt, interrupt) == Refused.exists, "once")
        check(event(Event.send, port) == Refused.invalid, "not for sending")
        check(event(Event.bindVCPU, port, 0) == Refused.invalid, "nor for moving")
        check(event(Event.close, port) == 0, "closed")
    }
}

/// shared_info is the guest's to spoil: what the core reads there decides about this guest alone.
private func noise() {
    let shared = xenpv_shared_address()
    check(event(Event.bindBetweenCPUs, 0) == 0, "a port")
    let port = UInt64(kit_load32(record + 4))
    var pattern: UInt64 = 0x9e37_79b9_7f4a_7c15
    for _ in 0..<200 as Range<UInt64> {
        for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> {
            pattern ^= pattern << 13
            pattern ^= pattern >> 7
            pattern ^= pattern << 17
            // The byte at 1 keeps events masked; the clock is this kernel's own to read.
            if offset < 0x20 || offset >= 0x40 { kit_store64(shared + offset, pattern | 0xff00) }
        }
        check(event(Event.send, port) == 0, "a send into the noise")
        check(event(Event.unmask, port) == 0, "an unmask")
        call(Call.setTimer, Clock.now)
        call(Call.scheduler, 0)
    }
    for offset in stride(from: 0x800, to: 4096, by: 8) as StrideTo<UInt64> {
        kit_store64(shared + offset, offset < 0xa00 ? 0 : ~0)
    }
    kit_store64(shared, 0x100)
    check(event(Event.close, port) == 0, "closed")
}

private func grants() {
    func setUp(_ domain: UInt64, _ count: UInt64) -> UInt64 {
        kit_store64(record, domain | count << 32)
        kit_store64(record + 8, 0)
        kit_store64(record + 16, record + 0x100)
        check(call(Call.grantTable, 2, record, 1) == 0, "an answer in the record")
        return kit_load64(record + 8) & 0xffff
    }
    check(setUp(domainSelf, 64) == 0, "all frames")
    forEach([65, 1 << 16, 0xffff_ffff]) { count in
        check(setUp(domainSelf, count) == 0xffff, "more than there are")
    }
    forEach([0, 1, 0x7ff1, 0xffff]) { domain in
        check(setUp(domain, 1) == 0xfffe, "another domain's")
    }
    forEach([2, 0xffff_ffff]) { count in
        check(call(Call.grantTable, 2, record, count) == Refused.unknown, "one record at a time")
    }
    // Entries that grant what is not the guest's; nobody has asked for any.
    let table = kit_load64(record + 0x100) << 12
    store(entry: table | Entry.all, frame: Arena.first + 1, slot: 0)
    store(entry: (Arena.first + 1) << 12 | Entry.all, frame: Arena.first + 2, slot: 0)
    store(entry: (Arena.first + 2) << 12 | Entry.all, frame: Arena.first + 3, slot: 0)
    store(entry: (Arena.first + 3) << 12 | Entry.all, frame: Domain.root, slot: 5)
    for entry in 0..<512 as Range<UInt64> {
        kit_store64(5 << 39 + entry << 3, entry & 0xff | (0xffff_ffff - entry) << 32)
    }
}

private func alarms() {
    forEach([0, 1, Clock.now, Clock.now + 1, 1 << 62, 1 << 63, ~0 - 1, ~0]) { deadline in
        for _ in 0..<100 as Range<UInt64> {
            call(Call.setTimer, deadline)
            kit_store64(record, deadline)
            kit_store64(record + 8, ~0)
            check(call(Call.vcpu, 8, 0, record) == 0, "an alarm")
            call(Call.setTimer, 0)
        }
        check(call(Call.vcpu, 8, 1, record) == Refused.noEntry, "another vCPU's alarm")
    }
    check(call(Call.vcpu, 9, 0, record) == 0, "stopped")
}
