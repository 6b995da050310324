// SPDX-License-Identifier: Apache-2.0
// Contexts that no processor should run: RIP and RSP that are not canonical, all flags, every selector
// in CS and SS with descriptors of every type in the LDT, far calls through all of them, and `syscall`
// in the last two bytes below the hole, from which there is no return.
// Attack: contexts
// Source: CVE-2012-0217 (XSA-7)
// Expect: exit 0
import XenKit

/// A page of code and its way there, of user and of kernel mode, at two addresses.
private enum Code {
    static let page = Arena.address(0)
    /// Below 4 GiB, for 32-bit segments.
    static let low: UInt64 = 1 << 30
    /// The last page of the lower half.
    static let last: UInt64 = 0x0000_7fff_ffff_f000
    static let stack = low + 0xf00
    private static let userRoot = Arena.first + 7

    static func map() {
        let page = Arena.first
        for level in 1..<3 as Range<UInt64> {
            store(entry: (page + level - 1) << 12 | Entry.all, frame: page + level, slot: 0)
        }
        let kernelLevel3 = (kit_load64(Domain.root << 12) & Entry.addressMask) >> 12
        forEach([kernelLevel3, page + 3]) { table in
            store(entry: (page + 2) << 12 | Entry.all, frame: table, slot: 1)
        }
        store(entry: (page + 3) << 12 | Entry.all, frame: userRoot, slot: 0)
        store(entry: page << 12 | Entry.all, frame: page + 4, slot: 511)
        store(entry: (page + 4) << 12 | Entry.all, frame: page + 5, slot: 511)
        store(entry: (page + 5) << 12 | Entry.all, frame: page + 6, slot: 511)
        forEach([Domain.root, userRoot]) { root in
            store(entry: (page + 6) << 12 | Entry.all, frame: root, slot: 255)
        }
        check(extended(Extended.loadUserRoot, userRoot) == 0, "a user root")
    }

    /// Up to eight bytes at an offset.
    static func put(_ bytes: UInt64, at offset: UInt64 = 0) { kit_store64(page + offset, bytes) }
    static let undefined: UInt64 = 0x0b0f
}

private enum Selector {
    static let user: UInt64 = 0xe033
    static let kernel: UInt64 = 0xe030
    static let data: UInt64 = 0xe02b
}

/// What iret is given, beside RIP.
private struct Context {
    var rip = Code.low
    var cs = Selector.user
    var rflags: UInt64 = 0x202
    var rsp = Code.stack
    var ss = Selector.data
    var rax: UInt64 = 0

    /// Exactly one trap comes of it.
    func run(_ message: StaticString, traps: UInt64 = 1) {
        let frame = xenpv_scratch_address() + 0x2000
        kit_store64(frame, rax)
        kit_store64(frame + 0x20, rip)
        kit_store64(frame + 0x28, cs)
        kit_store64(frame + 0x30, rflags)
        kit_store64(frame + 0x38, rsp)
        kit_store64(frame + 0x40, ss)
        let before = xenpv_traps_taken()
        xenpv_try_context(frame)
        check(xenpv_traps_taken() == before + traps, message)
    }
}

func guestMain() {
    Arena.open()
    Code.map()
    Code.put(Code.undefined)
    Context().run("a good context: #UD")
    addresses()
    flags()
    endOfLowerHalf()
    manyDescriptors()
    selectors()
    farCalls()
    dataSegments()
    Code.put(Code.undefined)
    Context().run("a good context still")
}

private let wild =
    [
        0x8000_0000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff, 0x0100_0000_0000_0000,
        0xffff_ffff_ffff_ffff, 0xffff_8280_0000_0000, kit_core_image, kit_hole_end - 8, kit_core_ram, 0, 7,
    ] as InlineArray<11, UInt64>

/// CVE-2012-0217 (XSA-7): SYSRET to an address that is not canonical faults in ring 0 on Intel's
/// processors. Here each return must be one by IRET, whose fault is the guest's.
private func addresses() {
    forEach(wild) { address in
        forEach([0x202, 0x2]) { flags in
            Context(rip: address, rflags: flags).run("user RIP")
            Context(rsp: address).run("user RSP")
            Context(rip: address, rsp: ~address).run("both")
            // In kernel mode the fault's frame goes to the stack of the context.
            Context(rip: address, cs: Selector.kernel, rflags: flags, rsp: kernelStack).run("kernel RIP")
        }
    }
}

private var kernelStack: UInt64 { xenpv_scratch_address() + 0x1f00 }

/// Every flag, and all of them: IOPL, NT, VM, RF, AC, VIF, VIP and those that are reserved.
private func flags() {
    for bit in 0..<64 as Range<UInt64> where bit != 8 {
        Context(rflags: 1 << bit | 0x202).run("a flag")
        Context(cs: Selector.kernel, rflags: 1 << bit | 2, rsp: kernelStack).run("a flag in kernel mode")
    }
    Context(rflags: ~0x100).run("all flags but TF")
    Context(rflags: ~0x300).run("and IF")
}

/// The address behind this `syscall` is not canonical.
private func endOfLowerHalf() {
    Code.put(0x050f << 48, at: 0xff8)
    let end = Code.last + 0xffe
    Context(rip: end, rax: 1).run("a system call of user mode")
    Context(rip: end, rflags: 2, rax: 1).run("with events masked")
    forEach([0x8000_0000_0000_0000, kit_core_image, 0]) { stack in
        Context(rip: end, rsp: stack, rax: 1).run("with a wild stack")
    }
    Context(rip: end, cs: Selector.kernel, rsp: kernelStack, rax: Call.version).run("a hypercall")
    Context(rip: end, cs: Selector.kernel, rsp: kernelStack, rax: 9999).run("one that is not there")
    Context(rip: end, cs: Selector.kernel, rsp: kernelStack, rax: Call.iret).run("iret", traps: 1)
    Code.put(0, at: 0xff8)
}

// MARK: - Selectors

/// 16 pages of descriptors: every type, privilege, presence and flag nibble.
private func manyDescriptors() {
    let table = Arena.address(16)
    for index in 0..<8192 as Range<UInt64> {
        let access = index & 0xff
        let flags = index >> 8 & 0xf
        kit_store64(table + index << 3, 0x000f_0000_0000_ffff | access << 40 | flags << 52)
    }
    check(extended(Extended.setLDT, table, 8192) == 0, "an LDT of everything")
    updates(table)
}

/// The same by update_descriptor, into the table that is loaded: gates, task states and the like refused.
private func updates(_ table: UInt64) {
    for access in 0..<256 as Range<UInt64> {
        let place = table + 8 * (4096 + access)
        let result = call(Call.updateDescriptor, place, 0x00af_0000_0000_ffff | access << 40)
        let isSystem = access & 0x90 == 0x80
        check(result == (isSystem ? Refused.invalid : 0), "a descriptor")
    }
    forEach([Domain.shared << 12, 1 << 45, ~7]) { place in
        check(call(Call.updateDescriptor, place, 0) == Refused.invalid, "a place that is none of RAM")
    }
    forEach([1, 4, 7]) { offset in
        check(call(Call.updateDescriptor, table + offset, 0) == Refused.invalid, "an odd place")
    }
}

/// Entries of both tables, the core's own among them.
private func selectors() {
    // 5 and 256 have no common factor: every access byte, with several flags.
    for index in stride(from: 0, to: 8192, by: 5) as StrideTo<UInt64> {
        Context(cs: index << 3 | 7).run("CS in the LDT")
        Context(ss: index << 3 | 7).run("SS in the LDT")
    }
    for index in 0..<8192 as Range<UInt64> where index < 24 || index >= 7160 && index < 7192 {
        Context(cs: index << 3 | 3).run("CS in the GDT")
        Context(ss: index << 3 | 3).run("SS in the GDT")
        Context(cs: index << 3, rsp: kernelStack).run("CS in the GDT, kernel mode")
        Context(cs: Selector.kernel, rsp: kernelStack, ss: index << 3).run("SS in kernel mode")
    }
}

/// lcall and ljmp *0x80(%rip): gates of every kind, of which there must be none.
private func farCalls() {
    forEach([0x1dff, 0x2dff]) { operation in
        Code.put(0x0b0f_0000_007a << 16 | operation)
        for index in stride(from: 0, to: 16384, by: 21) as StrideTo<UInt64> {
            let selector = (index & 8191) << 3 | (index < 8192 ? 3 : 7)
            Code.put(0x1234 | selector << 32, at: 0x80)
            Context().run("a far call")
        }
    }
}

/// mov %eax, %ds and its kin, then what becomes of them when the table goes.
private func dataSegments() {
    forEach([0xd88e, 0xc08e, 0xe08e, 0xe88e, 0xd08e]) { operation in
        Code.put(Code.undefined << 16 | operation)
        for index in stride(from: 0, to: 16384, by: 37) as StrideTo<UInt64> {
            Context(rax: (index & 8191) << 3 | (index < 8192 ? 3 : 7)).run("a data segment")
        }
    }
    // Loaded, then without descriptors: the core's own way in takes null instead.
    Code.put(Code.undefined << 48 | 0xe08e_c08e_d88e)
    let good = Arena.address(16)
    check(call(Call.updateDescriptor, good + 8, 0x00cf_f300_0000_ffff) == 0, "a good one")
    Context(rax: 15).run("loaded")
    check(extended(Extended.setLDT, 0, 0) == 0, "and no LDT any more")
    check(call(Call.scheduler, 0) == 0, "out of the world and in again")
    unloadedTable()
    userGS()
    globalTable()
}

/// A new LDT by a list whose result cannot be stored: selectors of it load, or do not, and ring 0, which
/// loads one for the guest, has the same table as the guest's question was checked against.
private func unloadedTable() {
    let list = Arena.address(40)
    kit_store64(list, Call.mmuExtended)
    kit_store64(list + 16, list + 0x800)
    kit_store64(list + 24, 1)
    kit_store64(list + 40, domainSelf)
    kit_store64(list + 0x800, Extended.setLDT)
    kit_store64(list + 0x808, Arena.address(16))
    kit_store64(list + 0x810, 8192)
    store(entry: (Arena.first + 40) << 12 | Entry.present | Entry.user, frame: Arena.first + 1, slot: 1)
    check(call(Call.multicall, Code.low + 0x1000, 1) == Refused.fault, "a list that is read-only")
    check(call(Call.setSegmentBase, 3, 0xf3 << 3 | 7) == 0, "a readable segment of it")
    check(call(Call.setSegmentBase, 3, 0) == 0, "none")
}

/// SEGBASE_GS_USER_SEL, for which ring 0 itself loads the selector.
private func userGS() {
    for selector in stride(from: 0, to: 0x1_0000, by: 3) as StrideTo<UInt64> {
        _ = call(Call.setSegmentBase, 3, selector)
    }
    check(extended(Extended.setLDT, Arena.address(16), 256) == 0, "an LDT of 256")
    for selector in stride(from: 4, to: 0x1_0000, by: 8) as StrideTo<UInt64> {
        _ = call(Call.setSegmentBase, 3, selector | 3)
    }
    check(call(Call.setSegmentBase, 3, 0) == 0, "none")
}

/// A GDT of everything, and GDTs that are none.
private func globalTable() {
    let list = xenpv_scratch_address()
    kit_store64(list, Arena.first + 16)
    check(call(Call.setGDT, list, 512) == 0, "a GDT of everything")
    for index in 0..<512 as Range<UInt64> { Context(cs: index << 3 | 3).run("CS of it") }
    forEach([Domain.frames, Domain.shared, 1 << 32, ~0]) { frame in
        kit_store64(list, frame)
        check(call(Call.setGDT, list, 1) == Refused.invalid, "a frame that is none of RAM")
    }
    forEach([513, 0xffff_ffff]) { count in
        check(call(Call.setGDT, list, count) == Refused.invalid, "a GDT that is too long")
    }
    forEach([Arena.address(16) + 8, kit_hole_start, kit_core_image, 1 << 47]) { table in
        check(extended(Extended.setLDT, table, 1) < 0, "an LDT that is none")
    }
    check(extended(Extended.setLDT, Arena.address(16), 8193) == Refused.invalid, "an LDT too long")
    check(call(Call.setGDT, 0, 0) == 0, "no GDT")
}
