// SPDX-License-Identifier: Apache-2.0
//
// A machine without hardware: windows over anonymous memory, processors with a TLB each
// that walk the shadow tables as the real ones do, and the module's part of the exits.

import CCore
import CPenumbra
import Glibc
import Testing

@testable import PenumbraCore

/// All tests over fake windows are nested in this suite: the windows are process-wide.
@Suite(.serialized) struct MemoryTests {}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough for choosing.
struct SeededGenerator: RandomNumberGenerator {
    private var seed: UInt64
    init(seed: UInt64) { self.seed = seed }

    mutating func next() -> UInt64 {
        seed &+= 0x9e37_79b9_7f4a_7c15
        var z = seed
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
    mutating func pick<T>(_ values: [T]) -> T { values.randomElement(using: &self)! }
}

/// What a processor may do with a page, and where that page is.
struct Translation: Equatable {
    var page: UInt64
    var writable: Bool
    var executable: Bool
}

/// One processor: where CR3 points in each mode is the machine's business; the TLB keeps
/// entries of both modes until flushed, as with PCIDs, which is the harder case.
struct FakeProcessor {
    var tlb: [UInt64: Translation] = [:]  // linear page | mode

    static func key(_ address: UInt64, _ mode: GuestMode) -> UInt64 {
        address & ~4095 | UInt64(mode.rawValue)
    }
}

final class FakeMachine {
    static let frameBase: UInt64 = 0x1_0000_0000
    static let poolBase: UInt64 = 0x20_0000_0000
    static let slotGuest: UInt64 = 0x7777_7000 | 0x3

    let frames: Int
    let poolLimit: Int
    let vcpus: Int
    var processors: [FakeProcessor]
    private var areas: [(UnsafeMutableRawPointer, Int)] = []
    private let counters: UInt
    private(set) var kicks = 0
    private(set) var growths = 0
    private(set) var populations = 0

    /// The machine whose processors `invlpg` and CR3 loads act on, and which of them acts.
    nonisolated(unsafe) static weak var current: FakeMachine?
    nonisolated(unsafe) static var acting = 0

    init(
        frames: Int = 64, poolLimit: Int = 256, vcpus: Int = 1, flags: UInt32 = 0,
        present: Bool = true
    ) {
        self.frames = frames
        self.poolLimit = poolLimit
        self.vcpus = vcpus
        processors = Array(repeating: FakeProcessor(), count: vcpus)
        counters = Self.map(vcpus * 4096, &areas)
        Windows.ram = area(frames * 4096)
        Windows.pool = area(poolLimit * 4096)
        Windows.frames = area(frames * 8)
        Windows.frameInfo = area(frames * 16)
        Windows.shadows = area(poolLimit * 128)
        Windows.poolTable = area(poolLimit * 8)
        // Run pages lie behind the VM's.
        Windows.vm = area((Int(PENUMBRA_VM_PAGES) + vcpus) * 4096)
        Windows.state = area(32 * 4096)
        let vm = vm
        vm.pointee.flags = flags
        vm.pointee.ram_frames = UInt32(frames)
        vm.pointee.total_frames = UInt32(frames)
        vm.pointee.vcpu_count = UInt32(vcpus)
        vm.pointee.pool_limit = UInt32(poolLimit)
        vm.pointee.slot_guest = Self.slotGuest
        vm.pointee.nx = 1 << 63
        for frame in 0..<frames where present { setPresent(frame, true) }
        grow()
        growths = 0
        Self.current = self
        ccore_set_hooks(
            { linear in FakeMachine.current!.invalidate(linear) },
            { _ in FakeMachine.current!.processors[FakeMachine.acting].tlb = [:] })
    }

    deinit {
        for (base, size) in areas { munmap(base, size) }
    }

    /// Zeroed memory that lives as long as the machine.
    func area(_ bytes: Int) -> UInt { Self.map(bytes, &areas) }

    private static func map(_ bytes: Int, _ areas: inout [(UnsafeMutableRawPointer, Int)]) -> UInt {
        let size = (bytes + 4095) & ~4095
        let base = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        precondition(base != MAP_FAILED)
        areas.append((base, size))
        return UInt(bitPattern: base)
    }

    var vm: UnsafeMutablePointer<penumbra_vm> { UnsafeMutablePointer(bitPattern: Windows.vm)! }

    private func invalidate(_ linear: UInt64) {
        for mode in [GuestMode.user, .kernel] {
            processors[Self.acting].tlb[FakeProcessor.key(linear, mode)] = nil
        }
    }

    func memory(_ vcpu: Int = 0) -> ShadowMemory {
        ShadowMemory(vcpu: UInt32(vcpu), counters: Counters(base: counters + UInt(vcpu) * 4096))
    }

    func counter(_ counter: penumbra_counter, vcpu: Int = 0) -> UInt64 {
        ccore_load64(counters + UInt(vcpu) * 4096 + UInt(counter.rawValue) * 8)
    }

    // MARK: - The module's part

    static func hostPage(ofFrame frame: Int) -> UInt64 { frameBase + UInt64(frame) * 4096 }

    func setPresent(_ frame: Int, _ present: Bool, readOnly: Bool = false) {
        let flags = UInt64(PENUMBRA_FRAME_PRESENT) | (readOnly ? UInt64(PENUMBRA_FRAME_READONLY) : 0)
        ccore_store64(Windows.frames + UInt(frame) * 8, present ? Self.hostPage(ofFrame: frame) | flags : 0)
    }

    func isPresent(_ frame: Int) -> Bool { ccore_load64(Windows.frames + UInt(frame) * 8) != 0 }

    func grow() {
        growths += 1
        let first = Int(vm.pointee.pool_pages)
        let last = min(first + Int(PENUMBRA_POOL_CHUNK), poolLimit)
        for index in first..<last {
            ccore_store64(Windows.poolTable + UInt(index) * 8, Self.poolBase + UInt64(index) * 4096 | 1)
        }
        vm.pointee.pool_pages = UInt32(last)
    }

    /// Does an operation as the core's callers do: deals with what it needs and redoes it.
    @discardableResult
    func run(_ vcpu: Int = 0, _ operation: (ShadowMemory) -> MemoryStatus) -> MemoryStatus {
        let memory = memory(vcpu)
        defer { settle(vcpu) }
        for _ in 0..<200 {
            let status = operation(memory)
            switch status {
            case .needsFrame(let frame, let count):
                populations += 1
                for number in 0..<Int(count) { setPresent(Int(frame.value) + number, true) }
            case .needsPool: grow()
            case .needsFlush:
                settle(vcpu)
                kick(vcpu)
            default: return status
            }
        }
        Issue.record("an operation needs something for ever")
        return .outOfPool
    }

    /// The vCPU returns to its guest: it pays what it owes.
    func settle(_ vcpu: Int) {
        Self.acting = vcpu
        memory(vcpu).settleFlush(cr3: 0)
    }

    func kick(_ vcpu: Int) {
        let mask = memory(vcpu).vcpusToKick()
        for other in 0..<vcpus where mask >> UInt64(other) & 1 != 0 {
            kicks += 1
            settle(other)
        }
    }

    // MARK: - The guest's part

    func guestEntryAddress(_ frame: Int, _ slot: Int) -> UInt {
        Windows.ram + UInt(frame) * 4096 + UInt(slot) * 8
    }
    func entry(_ frame: Int, _ slot: Int) -> UInt64 { ccore_load64(guestEntryAddress(frame, slot)) }
    func setEntry(_ frame: Int, _ slot: Int, _ value: UInt64) {
        ccore_store64(guestEntryAddress(frame, slot), value)
    }

    /// Maps an address in the guest's tables, with tables taken from `tables` as needed.
    func map(_ address: UInt64, to frame: Int, root: Int, tables: inout [Int], bits: UInt64 = 0x7) {
        var table = root
        for level in [4, 3, 2] {
            let slot = Int(address >> UInt64(3 + 9 * level)) & 511
            if entry(table, slot) & 1 == 0 {
                setEntry(table, slot, UInt64(tables.removeFirst()) << 12 | 0x7)
            }
            table = Int(entry(table, slot) >> 12 & 0xff_ffff_ffff)
        }
        setEntry(table, Int(address >> 12) & 511, UInt64(frame) << 12 | bits)
    }

    /// The table at a level on the way to an address, in the guest's own tables.
    func table(_ address: UInt64, root: Int, level: Int) -> Int {
        var table = root
        var above = 4
        while above > level {
            table = Int(entry(table, Int(address >> UInt64(3 + 9 * above)) & 511) >> 12 & 0xff_ffff_ffff)
            above -= 1
        }
        return table
    }

    /// What the processor finds in the shadow tables, below CR3, without its TLB.
    func hardwareWalk(_ vcpu: Int, _ address: UInt64, _ mode: GuestMode) -> Translation? {
        guard let root = memory(vcpu).rootAddress(mode: mode) else { return nil }
        var result = Translation(page: root.value, writable: true, executable: true)
        let levels = vm.pointee.flags & UInt32(PENUMBRA_VM_LA57) != 0 ? [5, 4, 3, 2, 1] : [4, 3, 2, 1]
        for level in levels {
            let index = (result.page - Self.poolBase) / 4096
            precondition(result.page >= Self.poolBase && index < UInt64(poolLimit), "walk left the pool")
            let slot = (address >> UInt64(3 + 9 * level)) & 511
            let entry = ccore_load64(Windows.pool + UInt(index) * 4096 + UInt(slot) * 8)
            if entry & 1 == 0 { return nil }
            precondition(entry & 4 != 0, "supervisor entry in a guest's path")
            result.page = entry & 0x000f_ffff_ffff_f000
            result.writable = result.writable && entry & 2 != 0
            result.executable = result.executable && entry >> 63 == 0
        }
        return result
    }

    /// Pages of shadow of a frame, at any level and in any view.
    func shadows(of frame: Int) -> Int {
        var count = 0
        var index = frameInfoPointer(GuestFrame(UInt32(frame))).pointee.firstShadow
        while index != 0 {
            count += 1
            index = descriptorPointer(index).pointee.nextOfFrame
        }
        return count
    }

    func check(_ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
        let violation = memory().check()
        #expect(violation == nil, "\(comment)", sourceLocation: sourceLocation)
    }
}

/// What the guest tries to do.
enum Attempt { case read, write, fetch }

extension FakeMachine {
    /// One access of guest code: TLB, then shadow tables, then the core's fault handler,
    /// until it succeeds or the guest gets a fault.
    /// - Returns: `.done` and the frame reached, or how the core refused.
    func access(
        _ vcpu: Int = 0, _ address: UInt64, _ attempt: Attempt, _ mode: GuestMode = .kernel,
        neighbours: UInt32 = 0, inspect: (Translation) -> Void = { _ in }
    ) -> (MemoryStatus, Int?) {
        let key = FakeProcessor.key(address, mode)
        var unsyncs = false
        for _ in 0..<8 {
            if processors[vcpu].tlb[key] == nil, let found = hardwareWalk(vcpu, address, mode) {
                processors[vcpu].tlb[key] = found
                inspect(found)
            }
            if let entry = processors[vcpu].tlb[key], allows(entry, attempt) {
                return (.done, Int((entry.page - Self.frameBase) / 4096))
            }
            // The faulting access drops the TLB entry (Intel SDM vol. 3, 4.10.4.1).
            processors[vcpu].tlb[key] = nil
            if let found = hardwareWalk(vcpu, address, mode), allows(found, attempt) { continue }
            var error = attempt == .write ? PageFaultError.write : .none
            if attempt == .fetch { error = error.union(.fetch) }
            let status = run(vcpu) {
                $0.fault(
                    GuestVirtual(address), error.union(.user), mode: mode, neighbours: neighbours,
                    unsyncs: unsyncs)
            }
            // What it writes is not known here: the guest does it itself.
            unsyncs = status == .tableWrite
            if unsyncs { continue }
            guard case .done = status else { return (status, nil) }
        }
        Issue.record("the access at \(String(address, radix: 16)) faults for ever")
        return (.refused, nil)
    }

    private func allows(_ entry: Translation, _ attempt: Attempt) -> Bool {
        switch attempt {
        case .read: true
        case .write: entry.writable
        case .fetch: entry.executable
        }
    }
}
