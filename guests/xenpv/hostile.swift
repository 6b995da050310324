// SPDX-License-Identifier: Apache-2.0
// A kernel that throws random calls, tables, stores and user code at the core, and survives all
// of it: whatever it asks for is done, refused or a fault of its own. A number as its command
// line is another seed.
// Attack: calls
// Expect: exit 0
import XenKit

func guestMain() {
    var attack = Attack()
    attack.prepare()
    while attack.rounds < 20_000 { attack.round() }
    put(decimal: attack.refused)
    put(" calls refused, ")
    put(decimal: xenpv_traps_taken())
    put(" traps\n")
    check(attack.refused > 1000 && xenpv_traps_taken() > 1000, "attacks that hit nothing")
}

/// Frames and addresses of the attack. The kernel itself is out of its own reach: no entry names
/// its frames, and no record is written to its pages, but for the scratch area.
enum Area {
    /// Used as tables of all levels, as user code and as data, often at the same time.
    static let pool: UInt64 = Arena.first
    static let poolFrames: UInt64 = 64
    /// Good kernel roots beside the loader's: copies of its entries, but for those of `slots`.
    static let roots: UInt64 = 2200
    static let rootCount: UInt64 = 2
    /// Top-level slots 1 to 4 are the attack's.
    static let slots: UInt64 = 4
    static let hole: UInt64 = 0xffff_8080_0000_0000
}

struct Attack {
    private var random = Random(state: 0x9e37_79b9_7f4a_7c15 ^ Domain.number)
    private(set) var rounds: UInt64 = 0
    private(set) var refused: UInt64 = 0
    private let scratch = xenpv_scratch_address()
    private var timerPort: UInt64 = 0

    // MARK: - Before

    mutating func prepare() {
        Arena.open()
        copyRoots()
        bindTimer()
        check(extended(15, Area.pool) == 0, "a user root")
    }

    /// Tables that the loader made are mapped at their own addresses.
    private func entry(_ table: UInt64, _ slot: UInt64) -> UInt64 { kit_load64(table << 12 + slot << 3) }

    private func copyRoots() {
        var index: UInt64 = 0
        while index < Area.rootCount {
            check(
                store(entry: entry(Domain.root, 0), frame: Area.roots + index, slot: 0) == 0, "copy a root")
            index += 1
        }
    }

    /// Again if an attack has closed the port.
    private mutating func bindTimer() {
        kit_store64(scratch, 0)
        kit_store64(scratch + 8, 0)
        if call(Call.eventChannel, 1, scratch) == 0 { timerPort = UInt64(kit_load32(scratch + 8)) }
    }

    // MARK: - One of them

    mutating func round() {
        rounds += 1
        switch random.below(12) {
        case 0, 1, 2: updateTables()
        case 3, 4: updateAddress()
        case 5: extendedOperations()
        case 6: accesses()
        case 7: nativeStores()
        case 8: userCode()
        case 9: multicall()
        default: anything()
        }
        repair()
    }

    private mutating func count(_ result: Int64) {
        if result < 0 { refused += 1 }
    }

    /// What a successful attack may have taken from the kernel.
    private func repair() {
        call(Call.stackSwitch, 0xe02b, xenpv_entry_stack())
        kit_store8(xenpv_shared_address() + 1, 1)
    }

    // MARK: - Numbers

    private mutating func poolFrame() -> UInt64 { Area.pool + random.below(Area.poolFrames) }

    private mutating func frame() -> UInt64 {
        if random.chance(85) { return poolFrame() }
        switch random.below(10) {
        case 0: return Domain.frames  // shared_info
        case 1: return Domain.frames + random.below(64)
        case 2: return Domain.frames + 65 + random.below(16)
        case 3: return Domain.frames + random.below(4096)
        case 4: return 0xffff_ffff
        case 5: return 1 << 32 | poolFrame()
        case 6: return 0xff_ffff_ffff
        case 7: return 1 << 52
        default: return Domain.frames - 1 - random.below(64)
        }
    }

    private mutating func entryValue() -> UInt64 {
        var value = frame() << 12 & Entry.addressMask
        value |= random.chance(70) ? Entry.all : random.below(8)
        if random.chance(30) { value |= random.below(4096) }
        if random.chance(20) { value |= 1 << 63 }
        if random.chance(5) { value |= random.below(1 << 11) << 52 }
        return containsInterruptReturn(value) ? Entry.all : value
    }

    /// Entries are executed too, and QEMU 7.2 takes IRET from user code into virtual-8086 mode, which a
    /// processor in long mode does not have.
    private func containsInterruptReturn(_ value: UInt64) -> Bool {
        var rest = value
        while rest != 0 {
            if rest & 0xff == 0xcf { return true }
            rest >>= 8
        }
        return false
    }

    private mutating func address() -> UInt64 {
        switch random.below(10) {
        case 0: return Area.hole + random.below(1 << 43)
        case 1: return 0x0000_8000_0000_0000 + random.below(1 << 46)
        case 2: return 0xffff_ffff_ffff_ffff - random.below(4096)
        case 3: return Area.pool << 12 + random.below(Area.poolFrames << 12)
        case 4: return 0xffff_8000_0000_0000 + random.below(1 << 39)
        case 5: return random.next() | 1 << 47
        default: return attackAddress()
        }
    }

    /// Few tables hang below the attack's slots: so the same ones are met again and again.
    private mutating func attackAddress() -> UInt64 {
        let slot = 1 + random.below(Area.slots)
        let path = random.below(4) << 30 | random.below(4) << 21 | random.below(8) << 12
        return slot << 39 | path | (random.chance(80) ? random.below(512) << 3 : random.below(4096))
    }

    private mutating func argument() -> UInt64 {
        switch random.below(8) {
        case 0: return random.below(40)
        case 1: return frame()
        case 2: return entryValue()
        case 3: return random.next()
        case 4: return 0xffff_ffff
        case 5: return scratch
        default: return address()
        }
    }

    /// Words that a record may begin with.
    private mutating func fillScratch() {
        var offset: UInt64 = 0
        while offset < 256 {
            kit_store64(scratch + offset, argument())
            offset += 8
        }
    }

    // MARK: - Tables

    /// Where an entry may be stored: tables of the attack, its slots in the roots, and frames that
    /// are nobody's.
    private mutating func place() -> UInt64 {
        switch random.below(20) {
        case 0: return Domain.root << 12 | (1 + random.below(Area.slots)) << 3
        case 1:
            return (Area.roots + random.below(Area.rootCount)) << 12 | (1 + random.below(Area.slots)) << 3
        case 2: return (Domain.frames + random.below(8192)) << 12 | random.below(512) << 3
        case 3: return random.next() | 1 << 45
        default: return poolFrame() << 12 | (random.chance(70) ? random.below(8) : random.below(512)) << 3
        }
    }

    private mutating func updateTables() {
        let requests = 1 + random.below(80)
        writeRequests(requests)
        let many = random.chance(3) ? requests | 0xffff_ff00 : requests
        // Of an endless list the rest is the scratch area's end and then nothing mapped.
        count(call(Call.mmuUpdate, scratch, min(many, 1024), random.chance(10) ? address() : 0, domainSelf))
    }

    private mutating func writeRequests(_ requests: UInt64) {
        var index: UInt64 = 0
        while index < 1024 {
            let isOne = index < requests
            kit_store64(
                scratch + index << 4, isOne ? place() & ~7 | (random.chance(5) ? random.below(8) : 0) : 7)
            kit_store64(scratch + index << 4 + 8, isOne ? entryValue() : 0)
            index += 1
        }
    }

    private mutating func updateAddress() {
        let address = random.chance(90) ? attackAddress() : wildAddress()
        let flags =
            random.chance(80) ? random.below(8) : random.below(2) << 2 | self.address() & ~7 | random.below(4)
        count(call(Call.updateAddress, address, entryValue(), flags, domainSelf))
    }

    /// None that the kernel lives at.
    private mutating func wildAddress() -> UInt64 {
        Area.hole + random.below(1 << 43) | random.below(2) << 62
    }

    private mutating func extendedOperations() {
        switch random.below(6) {
        case 0: count(extended(5, goodRoot()))
        case 1: count(extended(15, random.chance(50) ? Area.pool : frame()))
        case 2: count(extended(random.below(5), frame()))
        case 3: count(extended(6 + random.below(6), address(), address()))
        case 4: count(extended(13, address() & ~4095, random.below(9000)))
        default: count(extended(16 + random.below(1 << 20), frame(), argument()))
        }
    }

    private mutating func goodRoot() -> UInt64 {
        let index = random.below(Area.rootCount + 1)
        return index == Area.rootCount ? Domain.root : Area.roots + index
    }

    // MARK: - Accesses

    private mutating func accesses() {
        var left = 8
        while left > 0 {
            _ = random.chance(50) ? xenpv_try_load(address()) : xenpv_try_store(attackAddress(), entryValue())
            left -= 1
        }
    }

    /// To tables in use, through the pool's own mapping.
    private mutating func nativeStores() {
        var left = 1 + random.below(6)
        while left > 0 {
            let place = poolFrame() << 12 + random.below(8) << 3
            _ =
                random.chance(50)
                ? xenpv_try_store(place, entryValue()) : xenpv_try_exchange(place, entryValue())
            left -= 1
        }
        if random.chance(50) { extended(6, 0) }
    }

    /// Whatever is there is executed; it may be anything, and for long: the timer ends it.
    private mutating func userCode() {
        bindTimer()
        let shared = xenpv_shared_address()
        kit_store8(shared, 0)
        kit_store64(shared + 8, 0)
        kit_store64(shared + 0x800, 0)
        kit_and64(shared + 0xa00, ~(1 << timerPort))
        call(Call.setTimer, Clock.now + 200_000)
        xenpv_try_user(
            attackAddress(), attackAddress(), random.chance(50) ? 0x202 : random.next() & 0x3f_ffff | 0x202)
    }

    // MARK: - Calls

    private mutating func multicall() {
        let calls = 1 + random.below(100)
        var index: UInt64 = 0
        while index < calls {
            let entry = scratch + 0x400 + index << 6
            let number = harmless(random.below(48))
            kit_store64(entry, number)
            var word: UInt64 = 16
            while word < 64 {
                kit_store64(entry + word, argument())
                word += 8
            }
            kit_store64(entry + 16, firstArgument(number))
            index += 1
        }
        count(call(Call.multicall, random.chance(95) ? scratch + 0x400 : wildAddress(), calls))
    }

    private mutating func anything() {
        fillScratch()
        let number = harmless(random.below(64))
        let first = firstArgument(number)
        count(call(number, first, argument(), argument(), random.chance(50) ? domainSelf : argument()))
    }

    /// A command, mostly. A random trap table would be this kernel's own end, and registering a vcpu_info
    /// would move it away from where this kernel looks.
    private mutating func firstArgument(_ number: UInt64) -> UInt64 {
        if number == Call.setTrapTable { return Area.hole }
        let first = random.chance(60) ? random.below(20) : argument()
        return number == Call.vcpu && first == 10 ? 9 : first
    }

    /// Not the calls that end a kernel by themselves, or take away what it stands on; these have
    /// attacks of their own.
    private func harmless(_ number: UInt64) -> UInt64 {
        switch number {
        case Call.iret, Call.scheduler, Call.callback, Call.console, Call.mmuUpdate, Call.mmuExtended,
            Call.updateAddress, Call.multicall:
            Call.version
        default: number
        }
    }
}
