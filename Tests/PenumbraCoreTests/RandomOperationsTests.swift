// SPDX-License-Identifier: Apache-2.0
//
// Random guests against a reference model. The guest's tables are a handful of frames that
// refer to each other at random, each used at any level, in trees, DAGs and cycles, mapped
// into the address spaces that they define. The model knows x86 paging and nothing of
// shadows: it keeps each entry's values over time, and holds every translation that a
// processor picks up against them.
//
// What is true of hardware must be true here: a translation may be composed of values that
// the entries on its path had at any moment since that processor last flushed that page
// (Intel SDM vol. 3, 4.10.2 to 4.10.4), and a fault is raised only if the entries of now
// call for it.

import CCore
import CPenumbra
import Testing

@testable import PenumbraCore

/// The guest's entries over time.
struct History {
    private var values: [Int: [(time: Int, value: UInt64)]] = [:]
    private var latest: [UInt64] = Array(repeating: 0, count: 48 << 9)

    mutating func note(_ frame: Int, _ slot: Int, _ value: UInt64, _ time: Int) {
        let key = frame << 9 | slot
        guard latest[key] != value else { return }
        latest[key] = value
        values[key, default: [(0, 0)]].append((time, value))
    }

    /// All values at some moment from `time` on.
    func since(_ time: Int, _ frame: Int, _ slot: Int) -> [UInt64] {
        guard let all = values[frame << 9 | slot] else { return [0] }
        let first = all.lastIndex { $0.time <= time } ?? 0
        return all[first...].map(\.value)
    }
}

final class RandomGuest {
    static let slots = [0, 1, 5, 7, 300, 511]
    let machine: FakeMachine
    let tables = Array(1...12)
    let readOnlyFrame = 40
    let addresses: [UInt64]
    let policy: Bool
    var random: SeededGenerator
    var history = History()
    var time = 0
    /// Per vCPU and address: when it last flushed.
    var flushed: [[Int]]
    /// Per vCPU: root frames by mode (0 user, 1 kernel).
    var roots: [[Int]]
    var reached = 0
    var faulted = 0
    var tableWrites = 0
    var shortUpdates = 0

    init(seed: UInt64, vcpus: Int, poolLimit: Int, flags: UInt32 = 0, policy: Bool = false) {
        random = SeededGenerator(seed: seed)
        machine = FakeMachine(frames: 48, poolLimit: poolLimit, vcpus: vcpus, flags: flags, present: false)
        self.policy = policy
        var addresses: [UInt64] = []
        for four in [0, 1, 300] as [UInt64] {
            for three in [0, 5] as [UInt64] {
                for two in [0, 511] as [UInt64] {
                    for one in [0, 1, 7] as [UInt64] {
                        let low = four << 39 | three << 30 | two << 21 | one << 12
                        addresses.append(four >= 256 ? low | 0xffff_0000_0000_0000 : low)
                    }
                }
            }
        }
        self.addresses = addresses
        flushed = Array(repeating: Array(repeating: 0, count: addresses.count), count: vcpus)
        roots = Array(repeating: [1, 1], count: vcpus)
        machine.setPresent(readOnlyFrame, true, readOnly: true)
        for table in tables {
            machine.setPresent(table, true)
            for slot in Self.slots { machine.setEntry(table, slot, randomEntry()) }
        }
        observe()
        var setting = MemoryPolicy.none
        if policy { setting = setting.union(.tablesWritableThroughReadOnly) }
        if seed & 1 == 1 { setting = setting.union(.prefillUpdates) }
        machine.memory().setPolicy(setting)
        for vcpu in 0..<vcpus {
            load(vcpu, .kernel)
            load(vcpu, .user)
        }
    }

    /// Mostly sound entries, and of everything else a little.
    func randomEntry() -> UInt64 {
        if random.chance(8) { return random.next() & 0x8000_00ff_ffff_f0e6 }
        var value =
            UInt64(random.chance(65) ? random.pick(tables) : Int.random(in: 0..<50, using: &random)) << 12
        value |= random.chance(94) ? 1 : 0
        value |= random.chance(75) ? 2 : 0
        value |= random.chance(75) ? 4 : 0
        value |= random.chance(30) ? 0x20 : 0
        value |= random.chance(30) ? 0x60 : 0
        value |= random.chance(2) ? 0x80 : 0
        value |= random.chance(10) ? 1 << 63 : 0
        return value
    }

    /// Reads the guest's tables into the history: any frame can have become one.
    func observe() {
        time += 1
        for table in 0..<48 {
            for slot in Self.slots { history.note(table, slot, machine.entry(table, slot), time) }
        }
    }

    // MARK: - The reference

    static func slot(_ address: UInt64, _ level: Int) -> Int { Int(address >> UInt64(3 + 9 * level)) & 511 }

    /// Whether values since `since` compose to that translation.
    func isExplained(
        _ found: Translation, _ address: UInt64, _ mode: GuestMode, _ table: Int, _ since: Int,
        level: Int = 4, writable: Bool = true, executable: Bool = true
    ) -> Bool {
        guard table < 48 else { return false }
        for value in history.since(since, table, Self.slot(address, level)) {
            guard value & 0x21 == 0x21, mode == .kernel || value & 4 != 0 else { continue }
            let write = writable && value & 2 != 0
            let execute = executable && value >> 63 == 0
            let next = Int(value >> 12 & 0xff_ffff_ffff)
            if level > 1 {
                if value & 0x80 != 0 || next >= 48 { continue }
                if isExplained(
                    found, address, mode, next, since, level: level - 1, writable: write, executable: execute)
                {
                    return true
                }
                continue
            }
            guard next < 48, found.page == FakeMachine.hostPage(ofFrame: next) else { continue }
            let mayWrite = write && value & 0x40 != 0 && next != readOnlyFrame
            let lent = policy && mode == .kernel && writable && value & 0x40 != 0
            if found.writable && !mayWrite && !lent { continue }
            if found.executable && !execute { continue }
            return true
        }
        return false
    }

    /// What the tables of now say to an access.
    enum Verdict: Equatable { case frame(Int), fault(PageFaultError), unclear }

    func reference(_ address: UInt64, _ attempt: Attempt, _ mode: GuestMode, _ root: Int) -> Verdict {
        var table = root
        var rights = (write: true, user: true, execute: true)
        var error = PageFaultError.none
        if attempt == .write { error = error.union(.write) }
        if attempt == .fetch { error = error.union(.fetch) }
        if mode == .user { error = error.union(.user) }
        for level in [4, 3, 2, 1] {
            if table == readOnlyFrame { return .fault(error.union(.present).union(.reserved)) }
            let value = machine.entry(table, Self.slot(address, level))
            if value & 1 == 0 { return .fault(error) }
            let next = Int(value >> 12 & 0xff_ffff_ffff)
            if next >= 48 || level > 1 && value & 0x80 != 0 {
                return .fault(error.union(.present).union(.reserved))
            }
            rights = (
                rights.write && value & 2 != 0, rights.user && value & 4 != 0,
                rights.execute && value >> 63 == 0
            )
            table = next
        }
        if policy && attempt == .write && mode == .kernel && table != readOnlyFrame { return .unclear }
        let refused =
            attempt == .write && (!rights.write || table == readOnlyFrame)
            || mode == .user && !rights.user || attempt == .fetch && !rights.execute
        return refused ? .fault(error.union(.present)) : .frame(table)
    }

    // MARK: - Operations

    func access(_ vcpu: Int, _ place: Int, _ attempt: Attempt, _ mode: GuestMode) -> Int? {
        let address = addresses[place]
        let root = roots[vcpu][Int(mode.rawValue)]
        let neighbours: UInt32 = random.chance(20) ? 8 : 0
        let (status, frame) = machine.access(vcpu, address, attempt, mode, neighbours: neighbours) { found in
            self.observe()
            #expect(
                self.isExplained(found, address, mode, root, self.flushed[vcpu][place]),
                "no tables since the last flush allow \(found) at \(String(address, radix: 16)) \(mode)")
        }
        observe()
        let expected = reference(address, attempt, mode, root)
        switch (status, expected) {
        case (.guestFault(let error), .fault(let wanted)):
            faulted += 1
            #expect(error == wanted)
        case (.guestFault, .unclear): break
        case (.done, _): reached += 1
        default: Issue.record("\(status) where the tables say \(expected)")
        }
        return frame
    }

    /// The guest stores an entry by a plain instruction through whatever maps the table.
    func plainWrite(_ vcpu: Int) {
        let place = Int.random(in: 0..<addresses.count, using: &random)
        let mode: GuestMode = random.chance(70) ? .kernel : .user
        if policy && mode == .kernel && random.chance(50) && writeForGuest(vcpu, place) { return }
        guard let frame = access(vcpu, place, .write, mode) else { return }
        tableWrites += 1
        machine.setEntry(frame, random.pick(Self.slots), randomEntry())
        observe()
    }

    /// The same, done by the core.
    /// - Returns: whether the tables say that it is a store to a table that only reads.
    func writeForGuest(_ vcpu: Int, _ place: Int) -> Bool {
        let address = addresses[place] + UInt64(random.pick(Self.slots)) * 8
        let keep = random.pick([0, ~0, ~2 as UInt64])
        let entry = randomEntry()
        var old: UInt64 = 0
        let status = machine.run(vcpu) {
            $0.writeTable(at: GuestVirtual(address), keeping: keep, setting: entry, old: &old)
        }
        observe()
        guard case .done = status else { return false }
        tableWrites += 1
        return true
    }

    func update(_ vcpu: Int) {
        let table = random.pick(tables)
        let slot = random.pick(Self.slots)
        let address = GuestPhysical(UInt64(table) << 12 | UInt64(slot) << 3)
        let value = GuestEntry(randomEntry())
        let preserving = random.chance(30)
        let isShort = !preserving && random.chance(70)
        let status = machine.run(vcpu) { memory in
            if isShort && memory.updateAtOnce(address, to: value) {
                shortUpdates += 1
                return .done
            }
            return memory.update(address, to: value, preservingAccessedDirty: preserving)
        }
        #expect(status == .done)
        let stored = machine.entry(table, slot)
        #expect(stored == value.value || preserving && stored & ~0x60 == value.value & ~0x60)
        observe()
    }

    func updateLeaf(_ vcpu: Int) {
        let address = GuestVirtual(random.pick(addresses))
        let value = GuestEntry(randomEntry())
        machine.run(vcpu) { $0.updateLeaf(at: address, to: value) }
        observe()
    }

    func flush(_ vcpu: Int) {
        let others = random.chance(40)
        let mask: UInt64 = others ? (1 << UInt64(machine.vcpus)) - 1 : 1 << UInt64(vcpu)
        let place = Int.random(in: 0..<addresses.count, using: &random)
        let single = random.chance(50)
        let extent: FlushExtent = single ? .page(GuestVirtual(addresses[place])) : .all
        #expect(machine.run(vcpu) { $0.flush(extent, vcpus: mask) } == .done)
        if others { machine.kick(vcpu) }
        observe()
        for target in 0..<machine.vcpus where mask >> UInt64(target) & 1 != 0 {
            if single {
                flushed[target][place] = time
            } else {
                forgetAll(target)
            }
        }
    }

    func forgetAll(_ vcpu: Int) {
        for place in addresses.indices { flushed[vcpu][place] = time }
    }

    func load(_ vcpu: Int, _ mode: GuestMode) {
        let root = random.pick([1, 2, 3])
        #expect(machine.run(vcpu) { $0.loadRoot(GuestFrame(UInt32(root)), mode: mode) } == .done)
        roots[vcpu][Int(mode.rawValue)] = root
        observe()
        forgetAll(vcpu)
    }

    func dropFrame(_ vcpu: Int) {
        let frame = Int.random(in: 0..<48, using: &random)
        #expect(machine.run(vcpu) { $0.dropFrame(GuestFrame(UInt32(frame))) } == .done)
        machine.kick(vcpu)
        let page = FakeMachine.hostPage(ofFrame: frame)
        for processor in machine.processors {
            #expect(!processor.tlb.values.contains { $0.page == page }, "a TLB still reaches frame \(frame)")
        }
        if frame != readOnlyFrame { machine.setPresent(frame, false) }
    }

    func copy(_ vcpu: Int) {
        let place = Int.random(in: 0..<addresses.count, using: &random)
        let address = addresses[place]
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
        defer { buffer.deallocate() }
        let mode: GuestMode = random.chance(50) ? .kernel : .user
        let root = roots[vcpu][Int(mode.rawValue)]
        let status = machine.run(vcpu) {
            $0.copyIn(to: UInt(bitPattern: buffer), from: GuestVirtual(address), count: 64, mode: mode)
        }
        observe()
        switch (status, reference(address, .read, mode, root)) {
        case (.done, .frame(let frame)):
            #expect(buffer.load(as: UInt64.self) == machine.entry(frame, 0))
        case (.guestFault(let error), .fault(let wanted)): #expect(error == wanted)
        case (let status, let expected): Issue.record("\(status) where the tables say \(expected)")
        }
    }

    /// Out to the module and in again: CR3 is loaded, so the TLB is empty.
    func visitModule(_ vcpu: Int) {
        machine.memory(vcpu).leaveWorld()
        machine.processors[vcpu].tlb = [:]
        if machine.vcpus > 1 && random.chance(50) { update((vcpu + 1) % machine.vcpus) }
        machine.memory(vcpu).enterWorld()
        machine.settle(vcpu)
    }

    func step() {
        let vcpu = Int.random(in: 0..<machine.vcpus, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<40:
            let attempt = random.pick([Attempt.read, .read, .write, .write, .fetch])
            let place = Int.random(in: 0..<addresses.count, using: &random)
            _ = access(vcpu, place, attempt, random.chance(60) ? .kernel : .user)
        case 40..<58: plainWrite(vcpu)
        case 58..<73: update(vcpu)
        case 73..<78: updateLeaf(vcpu)
        case 78..<86: flush(vcpu)
        case 86..<90: load(vcpu, random.chance(50) ? .kernel : .user)
        case 90: dropFrame(vcpu)
        case 91:
            machine.memory(vcpu).reclaim(UInt32.random(in: 1...8, using: &random))
            machine.settle(vcpu)
        case 92: visitModule(vcpu)
        case 93 where random.chance(10):
            _ = machine.memory(vcpu).dropAll()
            machine.settle(vcpu)
        case 94:
            let frame = GuestFrame(UInt32(random.pick(tables)))
            let mark = random.chance(70)
            #expect(machine.run(vcpu) { $0.markTable(frame, mark) } == .done)
        default: copy(vcpu)
        }
    }
}

extension MemoryTests {
    /// 8 x 13,000 operations; the checker after each of the first 1,000 of a seed, and then
    /// after every twentieth.
    @Test(
        "100,000 random operations never allow what the guest's tables did not",
        arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func randomOperations(seed: UInt64) {
        let guest = RandomGuest(
            seed: seed, vcpus: seed < 3 ? 1 : 3, poolLimit: seed % 4 == 0 ? 64 : 320,
            flags: seed == 5 ? UInt32(PENUMBRA_VM_LA57) : 0, policy: seed == 6 || seed == 7)
        for number in 0..<13_000 {
            guest.step()
            if number < 1_000 || number % 20 == 0 {
                if let violation = guest.machine.memory().check() {
                    Issue.record("seed \(seed), operation \(number): \(violation)")
                    return
                }
            }
        }
        #expect(guest.reached > 400)
        #expect(guest.faulted > 500)
        #expect(guest.tableWrites > 100)
        #expect(guest.shortUpdates > 100)
    }
}
