// SPDX-License-Identifier: Apache-2.0
// Calls, text, and the state a kernel needs before it can be hostile: handlers, shared_info,
// a page-table entry where it wants one. Numbers: docs/xen-pv.md and Xen's public headers.
import XenKit

enum Call {
    static let setTrapTable: UInt64 = 0
    static let mmuUpdate: UInt64 = 1
    static let setGDT: UInt64 = 2
    static let stackSwitch: UInt64 = 3
    static let setDebugRegister: UInt64 = 8
    static let getDebugRegister: UInt64 = 9
    static let updateDescriptor: UInt64 = 10
    static let memory: UInt64 = 12
    static let multicall: UInt64 = 13
    static let updateAddress: UInt64 = 14
    static let setTimer: UInt64 = 15
    static let version: UInt64 = 17
    static let console: UInt64 = 18
    static let grantTable: UInt64 = 20
    static let iret: UInt64 = 23
    static let vcpu: UInt64 = 24
    static let setSegmentBase: UInt64 = 25
    static let mmuExtended: UInt64 = 26
    static let scheduler: UInt64 = 29
    static let callback: UInt64 = 30
    static let eventChannel: UInt64 = 32
    static let physicalDevice: UInt64 = 33
}

/// Commands of mmuext_op.
enum Extended {
    static let pinLevel1: UInt64 = 0
    static let pinLevel4: UInt64 = 3
    static let unpin: UInt64 = 4
    static let loadRoot: UInt64 = 5
    static let flush: UInt64 = 6
    static let setLDT: UInt64 = 13
    static let loadUserRoot: UInt64 = 15
}

/// What a call answers that is not done (public/errno.h).
enum Refused {
    static let notPermitted: Int64 = -1
    static let noEntry: Int64 = -2
    static let fault: Int64 = -14
    static let exists: Int64 = -17
    static let invalid: Int64 = -22
    static let noSpace: Int64 = -28
    static let unknown: Int64 = -38
}

/// DOMID_SELF.
let domainSelf: UInt64 = 0x7ff0

@discardableResult
func call(
    _ number: UInt64, _ first: UInt64 = 0, _ second: UInt64 = 0, _ third: UInt64 = 0, _ fourth: UInt64 = 0
) -> Int64 {
    kit_hypercall6(number, first, second, third, fourth, 0, 0)
}

/// Calls `body` with each number: a guest has no heap, and so no array to iterate over.
func forEach<let count: Int>(_ list: InlineArray<count, UInt64>, _ body: (UInt64) -> Void) {
    for index in list.indices { body(list[index]) }
}

/// xorshift64 (Marsaglia 2003).
struct Random {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
    mutating func below(_ limit: UInt64) -> UInt64 { (next() >> 11) % limit }
    mutating func chance(_ percent: UInt64) -> Bool { below(100) < percent }
}

// MARK: - Text and the end

func put(_ text: StaticString) {
    call(Call.console, 0, UInt64(text.utf8CodeUnitCount), UInt64(UInt(bitPattern: text.utf8Start)))
}

func put(decimal value: UInt64) {
    var divisor: UInt64 = 1
    while value / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
        var digit = 48 + UInt8(truncatingIfNeeded: value / divisor % 10)
        withUnsafePointer(to: &digit) { _ = call(Call.console, 0, 1, UInt64(UInt(bitPattern: $0))) }
        divisor /= 10
    }
}

enum Shutdown: UInt32 {
    case poweroff = 0
    case reboot = 1
    case crash = 3
}

func end(_ reason: Shutdown) -> Never {
    var record = reason.rawValue
    withUnsafePointer(to: &record) { _ = call(Call.scheduler, 2, UInt64(UInt(bitPattern: $0))) }
    while true {}
}

func fail(_ message: StaticString) -> Never {
    put("FAIL: ")
    put(message)
    put("\n")
    end(.crash)
}

func check(_ condition: Bool, _ message: StaticString) {
    if !condition { fail(message) }
}

// MARK: - Memory

enum Entry {
    static let present: UInt64 = 1
    static let writable: UInt64 = 2
    static let user: UInt64 = 4
    static let all: UInt64 = present | writable | user
    static let addressMask: UInt64 = 0x000f_ffff_ffff_f000
}

/// What the loader says, and the frames that a guest may play with: those behind its first
/// mapping, which ends at a multiple of 4 MiB.
enum Domain {
    nonisolated(unsafe) static var frames: UInt64 = 0
    nonisolated(unsafe) static var root: UInt64 = 0
    nonisolated(unsafe) static var shared: UInt64 = 0
    /// The command line, as one or two decimal numbers with a character between them; 0 if absent.
    nonisolated(unsafe) static var number: UInt64 = 0
    nonisolated(unsafe) static var secondNumber: UInt64 = 0
    static let firstFree: UInt64 = 1024

    static func read(_ start: UnsafePointer<xenpv_start_info>) {
        frames = start.pointee.nr_pages
        root = start.pointee.page_tables >> 12
        shared = start.pointee.shared_info >> 12
        check(frames >= 4096, "this guest needs 16 MiB")
        var place = UInt64(UInt(bitPattern: start)) + 0x80
        number = readDecimal(&place)
        guard kit_load8(place) != 0 else { return }
        place += 1
        secondNumber = readDecimal(&place)
    }

    private static func readDecimal(_ place: inout UInt64) -> UInt64 {
        var value: UInt64 = 0
        while kit_load8(place) >= 48 && kit_load8(place) <= 57 {
            value = value &* 10 &+ UInt64(kit_load8(place) - 48)
            place += 1
        }
        return value
    }
}

/// Stores an entry by mmu_update.
@discardableResult
func store(entry value: UInt64, frame: UInt64, slot: UInt64) -> Int64 {
    let request = xenpv_scratch_address() + 0x3ff0
    kit_store64(request, frame << 12 | slot << 3)
    kit_store64(request + 8, value)
    return call(Call.mmuUpdate, request, 1, 0, domainSelf)
}

/// One operation of mmuext_op.
@discardableResult
func extended(_ command: UInt64, _ first: UInt64 = 0, _ second: UInt64 = 0) -> Int64 {
    let operation = xenpv_scratch_address() + 0x3fd0
    kit_store64(operation, command)
    kit_store64(operation + 8, first)
    kit_store64(operation + 16, second)
    return call(Call.mmuExtended, operation, 1, 0, domainSelf)
}

/// Frames for an attack, each mapped writable at its own number's address. The kernel is not among
/// them: so nothing stored there takes away what it stands on.
enum Arena {
    static let first: UInt64 = 2048
    static let count: UInt64 = 128
    /// The level-1 table that maps them.
    private static let table: UInt64 = 2560

    static func open() {
        var index: UInt64 = 0
        while index < count {
            let entry = (first + index) << 12 | Entry.all
            check(store(entry: entry, frame: table, slot: index) == 0, "map the arena")
            index += 1
        }
        // The loader's tables: root, level 3 and 2 of the only mapping, at their own addresses too.
        let level3 = kit_load64(Domain.root << 12) & Entry.addressMask
        let level2 = kit_load64(level3) & Entry.addressMask
        check(store(entry: table << 12 | Entry.all, frame: level2 >> 12, slot: first >> 9) == 0, "its table")
    }

    /// Where frame `index` of the arena lies, as an address of all kinds.
    static func address(_ index: UInt64) -> UInt64 { (first + index) << 12 }
}

// MARK: - Handlers

enum Handlers {
    static func install() {
        setTraps()
        call(Call.stackSwitch, 0xe02b, xenpv_entry_stack())
        register(0, xenpv_event)
        register(1, xenpv_ignore)
        register(2, xenpv_trap)
        register(7, xenpv_trap)
    }

    private static func register(_ type: UInt64, _ function: kit_entry) {
        let record = xenpv_scratch_address()
        kit_store64(record, type)
        kit_store64(record + 8, kit_function_address(function))
        check(call(Call.callback, 0, record) == 0, "a callback")
    }

    /// Debug traps are ignored, all else is what a probe or user code met.
    private static func setTraps() {
        let table = xenpv_scratch_address()
        var place = table
        var vector: UInt64 = 0
        while vector < 32 {
            let hasError = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
            let entry: kit_entry =
                vector <= 3 && vector != 0 ? xenpv_ignore : hasError ? xenpv_trap_with_error : xenpv_trap
            // Breakpoints may come from user code.
            kit_store64(place, vector | (vector == 3 || vector == 4 ? 3 << 8 : 0) | 0xe033 << 16)
            kit_store64(place + 8, kit_function_address(entry))
            place += 16
            vector += 1
        }
        kit_store64(place, 0)
        kit_store64(place + 8, 0)
        check(call(Call.setTrapTable, table) == 0, "the trap table")
    }
}

/// A vcpu_guest_context (public/arch-x86/xen.h), in the scratch area.
enum GuestContext {
    static let rip: UInt64 = 0x208 + 128
    static let traps: UInt64 = 0x2d0
    static let localCount: UInt64 = 0x12d8
    static let descriptors: UInt64 = 0x12e0
    static let descriptorCount: UInt64 = 0x1360
    static let kernelStack: UInt64 = 0x1370
    static let root: UInt64 = 0x1378 + 24
    static let event: UInt64 = 0x13f8
    static let kernelGSBase: UInt64 = 0x1420

    static subscript(offset: UInt64) -> UInt64 {
        get { kit_load64(xenpv_scratch_address() + offset) }
        set { kit_store64(xenpv_scratch_address() + offset, newValue) }
    }

    /// All zero, but for what a vCPU of that number needs to run `xenpv_secondary_main`.
    static func prepare(_ number: UInt64) {
        var offset: UInt64 = 0
        while offset < 0x1430 {
            self[offset] = 0
            offset += 8
        }
        self[0x200] = 4  // VGCF_in_kernel
        self[0x208 + 112] = number  // rdi
        self[rip] = kit_function_address(xenpv_secondary_start)
        self[0x208 + 152] = xenpv_secondary_stack()
        for vector in 0..<32 as Range<UInt64> {
            let hasError = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
            let entry: kit_entry = hasError ? xenpv_trap_with_error : xenpv_trap
            self[traps + vector * 16] = vector | 0xe033 << 16
            self[traps + vector * 16 + 8] = kit_function_address(entry)
        }
        self[kernelStack] = xenpv_entry_stack()
        self[root] = Domain.root << 12
        self[event] = kit_function_address(xenpv_ignore)
    }
}

/// What vCPUs other than 0 run; set before one is brought up.
nonisolated(unsafe) var secondaryMain: (@convention(c) (UInt64) -> Void)?

@_cdecl("xenpv_secondary_main")
func xenSecondaryMain(_ number: UInt64) {
    secondaryMain?(number)
    fail("a vCPU's work has ended")
}

/// The guest's clock, in ns: struct vcpu_time_info (public/xen.h), which is written once.
enum Clock {
    static var now: UInt64 {
        let area = xenpv_shared_address() + UInt64(XENPV_INFO_TIME)
        let delta = kit_rdtsc() &- kit_load64(area + 8)
        let scale = kit_load64(area + 24)
        let shift = Int8(truncatingIfNeeded: scale >> 32)
        let ticks = shift < 0 ? delta >> UInt64(-Int64(shift)) : delta << UInt64(shift)
        let product = ticks.multipliedFullWidth(by: scale & 0xffff_ffff)
        return kit_load64(area + 16) &+ (product.high << 32 | product.low >> 32)
    }
}

@_cdecl("xenpv_main")
func xenMain(_ start: UnsafePointer<xenpv_start_info>) {
    Domain.read(start)
    Handlers.install()
    let shared = xenpv_shared_address()
    check(call(Call.updateAddress, shared, Domain.shared << 12 | Entry.all, 2) == 0, "shared_info")
    xenpv_set_info(shared)
    guestMain()
    put("PASS\n")
    end(.poweroff)
}
