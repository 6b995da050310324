// SPDX-License-Identifier: Apache-2.0
// Random instructions in both modes: the opcodes of the one- and the two-byte map in turn, with random
// prefixes, operands and immediates, all registers in the middle of 256 KiB, single-stepped, behind MOV SS
// with a data breakpoint on its operand, or plainly; whatever comes of one, the next runs, and tables,
// bases, descriptors and handlers are what they were. A command line "SEED COUNT" is another seed, and
// more of them.
// Attack: instructions
// Expect: exit 0
import XenKit

private let defaultSeed: UInt64 = 5
private let defaultCount: UInt64 = 250_000

func guestMain() {
    let seed = Domain.number == 0 ? defaultSeed : Domain.number
    let count = Domain.secondNumber == 0 ? defaultCount : Domain.secondNumber
    Place.map()
    Ends.install()
    Guard.set()
    var run = Run(seed: seed)
    while run.instructions < count { run.batch() }
    report(seed, run)
}

/// What ran, and how often it ended in which way.
private func report(_ seed: UInt64, _ run: borrowing Run) {
    put("seed ")
    put(decimal: seed)
    put(": ")
    put(decimal: run.instructions)
    put(" instructions; ends, by vector:")
    for end in 0..<UInt64(OPCODES_END_COUNT) as Range<UInt64> where Ends.count(end) != 0 {
        put(" ")
        put(decimal: end)
        put("=")
        put(decimal: Ends.count(end))
    }
    put("\n")
}

// MARK: - Where things are

/// Frames of the arena, and the addresses that the instructions see.
private enum Place {
    static let slots: UInt64 = 0
    static let slotPages = UInt64(OPCODES_SLOT_COUNT) >> (12 - UInt64(OPCODES_SLOT_SHIFT))
    static let sandbox: UInt64 = 16
    static let sandboxPages: UInt64 = 64
    /// Behind the sandbox, and read-only.
    static let canary: UInt64 = 80
    static let context: UInt64 = 81
    static let contextPages: UInt64 = 4
    static let descriptors: UInt64 = 85
    /// Tables: of slots, sandbox and canary; of the kernel's text; of the context; the roots.
    static let lowLevel1: UInt64 = 90
    static let lowLevel2: UInt64 = 91
    static let textLevel1: UInt64 = 92
    static let textLevel2: UInt64 = 93
    static let testLevel3: UInt64 = 94
    static let userLevel3: UInt64 = 95
    static let contextLevel1: UInt64 = 96
    static let contextLevel2: UInt64 = 97
    static let contextLevel3: UInt64 = 98
    static let testRoot: UInt64 = 99
    static let userRoot: UInt64 = 100
    static let tables: Range<UInt64> = lowLevel1..<userRoot + 1

    static let sandboxAddress = UInt64(OPCODES_SLOTS) + slotPages << 12
    static let canaryAddress = sandboxAddress + sandboxPages << 12
    static let notExecutable: UInt64 = 1 << 63

    /// Where a slot is written.
    static func slot(_ index: UInt64) -> UInt64 { Arena.address(slots) + index << UInt64(OPCODES_SLOT_SHIFT) }

    static func frame(_ index: UInt64) -> UInt64 { Arena.first + index }

    private static func set(_ table: UInt64, _ slot: UInt64, to index: UInt64, _ flags: UInt64 = Entry.all) {
        setFrame(table, slot, to: frame(index), flags)
    }

    private static func setFrame(_ table: UInt64, _ slot: UInt64, to target: UInt64, _ flags: UInt64) {
        check(store(entry: target << 12 | flags, frame: frame(table), slot: slot) == 0, "map")
    }

    static func map() {
        Arena.open()
        for offset in stride(from: 0, to: slotPages << 12, by: 8) as StrideTo<UInt64> {
            kit_store64(Arena.address(slots) + offset, 0xcccc_cccc_cccc_cccc)
        }
        mapLow()
        mapText()
        mapContext()
        set(testRoot, 0, to: testLevel3)
        set(userRoot, 0, to: userLevel3)
        check(extended(Extended.loadUserRoot, frame(userRoot)) == 0, "a user root")
    }

    /// Code is never writable and data never executable: so what runs is what was generated.
    private static func mapLow() {
        let readOnly = Entry.present | Entry.user
        for page in 0..<slotPages as Range<UInt64> { set(lowLevel1, page, to: slots + page, readOnly) }
        for page in sandbox..<sandbox + sandboxPages as Range<UInt64> {
            set(lowLevel1, page, to: page, Entry.all | notExecutable)
        }
        set(lowLevel1, canary, to: canary, readOnly | notExecutable)
        set(lowLevel2, 0, to: lowLevel1)
        set(testLevel3, UInt64(OPCODES_SLOTS) >> 30, to: lowLevel2)
        set(userLevel3, UInt64(OPCODES_SLOTS) >> 30, to: lowLevel2)
    }

    /// Of the kernel's image, which is mapped one to one, no more than handlers need.
    private static func mapText() {
        for page in 0x100..<xenpv_text_end_address() >> 12 as Range<UInt64> {
            setFrame(textLevel1, page, to: page, Entry.present | Entry.user)
        }
        set(textLevel2, 0, to: textLevel1)
        set(testLevel3, 0, to: textLevel2)
    }

    private static func mapContext() {
        for page in 0..<contextPages as Range<UInt64> {
            set(contextLevel1, page, to: context + page, Entry.all | notExecutable)
        }
        let info = UInt64(OPCODES_INFO) >> 12
        setFrame(contextLevel1, info, to: Domain.shared, Entry.all | notExecutable)
        set(contextLevel2, 0, to: contextLevel1)
        set(contextLevel3, 0, to: contextLevel2)
        let slot = UInt64(OPCODES_CONTEXT) >> 39
        set(testRoot, slot, to: contextLevel3)
        let target = frame(contextLevel3) << 12 | Entry.all
        check(store(entry: target, frame: Domain.root, slot: slot) == 0, "the context")
        root(UInt64(OPCODES_MAIN_ROOT), Domain.root)
        root(UInt64(OPCODES_TEST_ROOT), frame(testRoot))
    }

    private static func root(_ field: UInt64, _ frame: UInt64) {
        Context[field] = Extended.loadRoot
        Context[field + 8] = frame
    }
}

private enum Context {
    static subscript(field: UInt64) -> UInt64 {
        get { kit_load64(UInt64(OPCODES_CONTEXT) + field) }
        set { kit_store64(UInt64(OPCODES_CONTEXT) + field, newValue) }
    }
    static subscript(field: Int32) -> UInt64 {
        get { self[UInt64(field)] }
        set { self[UInt64(field)] = newValue }
    }
}

// MARK: - Ends

/// Exceptions, events and system calls: each ends a slot.
private enum Ends {
    static let breakpoint: UInt64 = 3
    static let invalidOpcode: UInt64 = 6
    static let protection: UInt64 = 13
    static let pageFault: UInt64 = 14
    private static let masksEvents: UInt64 = 4
    private static let fromUser: UInt64 = 3

    static func install() {
        setTraps()
        let entryStack = UInt64(OPCODES_CONTEXT) + UInt64(OPCODES_ENTRY_STACK)
        check(call(Call.stackSwitch, 0xe02b, entryStack) == 0, "the entry stack")
        register(0, opcodes_event_gate())
        register(1, opcodes_gate(UInt64(OPCODES_END_FAILSAFE)))
        register(2, opcodes_gate(UInt64(OPCODES_END_SYSCALL)))
        register(7, opcodes_gate(UInt64(OPCODES_END_SYSCALL32)))
    }

    private static func setTraps() {
        var place = xenpv_scratch_address()
        for vector in 0..<32 as Range<UInt64> { trap(&place, vector, opcodes_gate(vector)) }
        trap(&place, 0x80, opcodes_gate(UInt64(OPCODES_END_INT80)))
        kit_store64(place, 0)
        kit_store64(place + 8, 0)
        check(call(Call.setTrapTable, xenpv_scratch_address()) == 0, "the trap table")
    }

    private static func trap(_ place: inout UInt64, _ vector: UInt64, _ gate: UInt64) {
        let isOpen = vector == 3 || vector == 4 || vector == 0x80
        kit_store64(place, vector | (masksEvents | (isOpen ? fromUser : 0)) << 8 | 0xe033 << 16)
        kit_store64(place + 8, gate)
        place += 16
    }

    private static func register(_ type: UInt64, _ gate: UInt64) {
        let record = xenpv_scratch_address()
        kit_store64(record, type | 1 << 16)  // CALLBACKF_mask_events
        kit_store64(record + 8, gate)
        check(call(Call.callback, 0, record) == 0, "a callback")
    }

    static func count(_ end: UInt64) -> UInt64 { Context[UInt64(OPCODES_COUNTS) + end << 3] }

    /// How a slot ended.
    static func of(_ slot: UInt64) -> UInt64 {
        UInt64(kit_load8(UInt64(OPCODES_CONTEXT) + UInt64(OPCODES_ENDS) + slot))
    }
}

// MARK: - What must not change

/// State that an instruction at CPL 3 has no business with, looked at after each batch.
private enum Guard {
    private static let pattern: UInt64 = 0x0bad_cafe_5eed_f00d
    private static let kernelGS: UInt64 = 0x40
    private static let userGS: UInt64 = 0x80
    private static let accessedAndDirty: UInt64 = 0x60
    nonisolated(unsafe) private static var sum: UInt64 = 0
    nonisolated(unsafe) private static var textSum: UInt64 = 0

    static func set() {
        for word in 0..<512 as Range<UInt64> { kit_store64(Arena.address(Place.canary) + word << 3, pattern) }
        setDescriptors()
        sum = tableSum()
        textSum = codeSum()
    }

    /// Of ring 3 and every type of segment, of 64 and of 32 bits.
    private static func setDescriptors() {
        let table = Arena.address(Place.descriptors)
        for index in 1..<32 as Range<UInt64> {
            let size: UInt64 = index < 16 ? 0xc : 0xa
            kit_store64(table + index << 3, 0x000f_0000_0000_ffff | (0xf0 | index & 15) << 40 | size << 52)
        }
        let list = xenpv_scratch_address()
        kit_store64(list, Place.frame(Place.descriptors))
        check(call(Call.setGDT, list, 32) == 0, "a GDT")
    }

    /// Before a batch: segment bases, which an instruction may change in its own mode.
    static func arm(_ middle: UInt64) {
        check(call(Call.setSegmentBase, 0, 0) == 0, "FS base")
        check(call(Call.setSegmentBase, 1, userGS) == 0, "the user's GS base")
        check(call(Call.setSegmentBase, 2, kernelGS) == 0, "the kernel's GS base")
        // DR0 on the operand of MOV SS: 2 bytes, read and written, local.
        check(call(Call.setDebugRegister, 7, 0x400) == 0, "no breakpoint")
        check(call(Call.setDebugRegister, 0, middle + UInt64(OPCODES_STACK_SELECTOR)) == 0, "its address")
        check(call(Call.setDebugRegister, 7, 0x7_0401) == 0, "a breakpoint")
    }

    /// - Returns: what changed, if anything.
    static func look(isUser: Bool) -> StaticString? {
        check(call(Call.setDebugRegister, 7, 0x400) == 0, "no breakpoint any more")
        for word in 0..<512 as Range<UInt64> {
            if kit_load64(Arena.address(Place.canary) + word << 3) != pattern { return "the canary" }
        }
        if tableSum() != sum { return "a table" }
        if codeSum() != textSum { return "the kernel's code" }
        let other = opcodes_read_msr(isUser ? 0xc000_0101 : 0xc000_0102)
        return other == (isUser ? kernelGS : userGS) ? nil : "the other mode's GS base"
    }

    /// Of tables, without accessed and dirty bits and without what the core writes into roots, and of
    /// descriptors.
    private static func tableSum() -> UInt64 {
        var sum: UInt64 = 0
        for table in Place.tables {
            for slot in 0..<512 as Range<UInt64> where slot != UInt64(XENPV_M2P_SLOT) {
                add(kit_load64(Arena.address(table) + slot << 3) & ~accessedAndDirty, to: &sum)
            }
        }
        for index in 0..<32 as Range<UInt64> {
            add(kit_load64(Arena.address(Place.descriptors) + index << 3), to: &sum)
        }
        return sum
    }

    private static func codeSum() -> UInt64 {
        var sum: UInt64 = 0
        for word in 0x10_0000 >> 3..<xenpv_text_end_address() >> 3 as Range<UInt64> {
            add(kit_load64(word << 3), to: &sum)
        }
        return sum
    }

    private static func add(_ word: UInt64, to sum: inout UInt64) {
        sum = (sum << 5 | sum >> 59) ^ word
    }
}

// MARK: - Running

private struct Run {
    private let seed: UInt64
    private var batches: UInt64 = 0
    private(set) var instructions: UInt64 = 0
    private var opcode: UInt64 = 0
    private var timerPort: UInt64 = 0
    private let shared = xenpv_shared_address()

    init(seed: UInt64) {
        self.seed = seed
        let record = xenpv_scratch_address()
        kit_store64(record, 0)
        kit_store64(record + 8, 0)
        check(call(Call.eventChannel, 1, record) == 0, "the timer's port")
        timerPort = UInt64(kit_load32(record + 8))
    }

    /// In kernel mode and in user mode by turns.
    mutating func batch() {
        let isUser = batches & 1 == 1
        var random = Random(state: (seed &* 0x9e37_79b9_7f4a_7c15 ^ batches &* 0xd134_2543_de82_ef95) | 1)
        for _ in 0..<8 as Range<Int> { _ = random.next() }
        let middle = Place.sandboxAddress + Place.sandboxPages << 11 + random.below(0x6000) - 0x3000
        Context[OPCODES_MIDDLE] = middle
        fillSandbox(middle, &random)
        fillSlots(isUser, middle, &random)
        Guard.arm(middle)
        run(isUser)
        if let changed = Guard.look(isUser: isUser) { stop(changed, isUser) }
        checkKnown(isUser)
        batches += 1
        instructions += UInt64(OPCODES_SLOT_COUNT) - Known.count
    }

    /// An instruction without end is ended by the timer; after any event the rest runs.
    private func run(_ isUser: Bool) {
        Context[OPCODES_INDEX] = 0
        Context[OPCODES_LIMIT] = UInt64(OPCODES_SLOT_COUNT)
        while Context[OPCODES_INDEX] < UInt64(OPCODES_SLOT_COUNT) {
            kit_store8(shared, 0)
            kit_store64(shared + 8, 0)
            kit_store64(shared + 0x800, 0)
            kit_and64(shared + 0xa00, ~(1 << timerPort))
            check(call(Call.setTimer, Clock.now + 1_000_000) == 0, "the timer")
            opcodes_run()
            if Context[OPCODES_LOST] != 0 { stop("an exception of the runner's", isUser) }
        }
    }

    // MARK: - Known ends

    /// Instructions whose end is known, at the start of each batch.
    private enum Known {
        static let count: UInt64 = 4

        static func put(_ index: UInt64, into slot: inout InstructionPlace) {
            switch index {
            case 0: slot.append(0xcc)
            case 1: slot.append(0x0b0f, bytes: 2)
            case 2: slot.append(0xd8200f, bytes: 3)  // mov %cr3, %rax
            default:  // mov %al, canary
                slot.append(0xa267, bytes: 2)
                slot.append(Place.canaryAddress, bytes: 4)
            }
        }

        static func end(_ index: UInt64) -> UInt64 {
            switch index {
            case 0: Ends.breakpoint
            case 1: Ends.invalidOpcode
            case 2: Ends.protection
            default: Ends.pageFault
            }
        }
    }

    private func checkKnown(_ isUser: Bool) {
        for index in 0..<Known.count as Range<UInt64> {
            let end = Ends.of(index)
            if end != Known.end(index) && end != UInt64(OPCODES_END_EVENT) {
                stop("a known instruction's end", isUser)
            }
        }
    }

    // MARK: - Filling

    /// What pops, returns and indirect jumps find.
    private func fillSandbox(_ middle: UInt64, _ random: inout Random) {
        let place = Arena.address(Place.sandbox) + middle - Place.sandboxAddress
        // By another address than that which the breakpoint is on.
        kit_store64(place + UInt64(OPCODES_STACK_SELECTOR), 0xe02b)
        for word in 0..<1024 as Range<UInt64> {
            let value: UInt64
            switch random.below(8) {
            case 0: value = 0
            case 1: value = random.next()
            case 2: value = random.below(512)  // a selector, a count
            case 3: value = 0xe000 | random.below(64)
            case 4: value = middle
            case 5: value = random.below(1 << 22)  // flags
            // Nothing but int3.
            default: value = UInt64(OPCODES_SLOTS) + random.below(256) << 8 + 0x60
            }
            kit_store64(place & ~7 + word << 3 - 4096, value)
        }
    }

    private mutating func fillSlots(_ isUser: Bool, _ middle: UInt64, _ random: inout Random) {
        for index in 0..<UInt64(OPCODES_SLOT_COUNT) as Range<UInt64> {
            var slot = InstructionPlace(at: Place.slot(index))
            let isKnown = index < Known.count
            if isKnown {
                Known.put(index, into: &slot)
            } else {
                if random.chance(5) {
                    slot.append(0x908e, bytes: 2)  // mov OPCODES_STACK_SELECTOR(%rax), %ss
                    slot.append(UInt64(OPCODES_STACK_SELECTOR), bytes: 4)
                }
                var generator = InstructionGenerator(
                    random: random, middle: middle, keepsStack: !isUser)
                generator.generate(opcode, into: &slot)
                random = generator.random
                opcode += 1
            }
            Context[UInt64(OPCODES_WAYS) + index << 3] = way(isUser, isKnown, &random)
        }
    }

    /// Kernel mode is mostly entered by a jump, which needs no call; single steps need one.
    private func way(_ isUser: Bool, _ isKnown: Bool, _ random: inout Random) -> UInt64 {
        let selector: UInt64 = isUser ? 0xe033 : 0xe030
        if isKnown { return selector << 48 | 0x202 }
        // Carry, parity, adjust, zero, sign, direction, overflow; AC now and then.
        let flags = random.next() & (random.chance(5) ? 0x4_0cd5 : 0x8d5) | 0x202
        if !isUser && random.chance(75) { return 1 << UInt64(OPCODES_WAY_JUMP) | flags }
        let step: UInt64 = random.chance(25) ? 0x100 : 0
        return selector << 48 | random.below(2) << UInt64(OPCODES_WAY_SYSCALL) | step | flags
    }

    // MARK: - Failure

    private func stop(_ message: StaticString, _ isUser: Bool) -> Never {
        put("seed ")
        put(decimal: seed)
        put(isUser ? ", user batch " : ", kernel batch ")
        put(decimal: batches)
        put(", next slot ")
        put(decimal: Context[OPCODES_INDEX])
        put(", lost ")
        put(decimal: Context[OPCODES_LOST])
        put(", slot")
        let slot = Context[OPCODES_INDEX] == 0 ? 0 : Context[OPCODES_INDEX] - 1
        for offset in 0..<24 as Range<UInt64> {
            put(" ")
            put(decimal: UInt64(kit_load8(Place.slot(slot) + offset)))
        }
        put("\n")
        fail(message)
    }
}
