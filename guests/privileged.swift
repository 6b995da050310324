// SPDX-License-Identifier: Apache-2.0
// What an operating system does in ring 0. From user code each is #GP(0), or #UD where the CPU
// says so. From the guest kernel some are served harmlessly (cli, sti, hlt, in, out, clts,
// wbinvd, reads of CR0, CR2 and CR4, writes to CR0 and CR4 that change nothing, EFER, the MSRs
// of the segment bases and of the TSC); all else is #GP(0).
// Attack: instructions
// Expect: exit 0
import CKit

let efer: UInt64 = 0xc000_0080
let fsBase: UInt64 = 0xc000_0100
let gsBase: UInt64 = 0xc000_0101
let kernelGSBase: UInt64 = 0xc000_0102
let generalProtection: UInt64 = 13
let invalidOpcode: UInt64 = 6

@_cdecl("guest_main")
func guestMain() {
    makeUserRoot()
    neverAllowed { probe($0, $1, $2, $3) }
    neverAllowed { userProbe($0, $1, $2, $3) }
    notForUsers()
    servedForKernel()
    halts()
}

/// Runs a probe with its operands a, b, c.
typealias Runner = (kit_probe, UInt64, UInt64, UInt64) -> Probe

/// Refused in both modes.
func neverAllowed(_ run: Runner) {
    func refused(_ instruction: kit_probe, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) {
        run(instruction, a, b, c).traps(generalProtection, 0, "privileged instruction")
    }
    let memory = kit_stack_area(0)
    refused(kit_probe_lgdt, memory)
    refused(kit_probe_lidt, memory)
    refused(kit_probe_lldt)
    refused(kit_probe_ltr, UInt64(PENUMBRA_SEL_CORE_TSS))
    refused(kit_probe_lmsw, 1)
    refused(kit_probe_invlpg, memory)
    refused(kit_probe_swapgs)
    refused(kit_probe_rdpmc)
    refused(kit_probe_read_cr8)
    refused(kit_probe_read_cr3)
    refused(kit_probe_write_cr3, vm.root_frame << 12)
    refused(kit_probe_read_dr7)
    refused(kit_probe_write_dr7, 0x400)
    refused(kit_probe_sysret)
    refused(kit_probe_insb, memory, 0x80)
    refused(kit_probe_outsb, memory, 0x80)
    // STAR, LSTAR, SFMASK, SYSENTER_EIP, APIC_BASE, and one that does not exist.
    forEach([0xc000_0081, 0xc000_0082, 0xc000_0084, 0x176, 0x1b, 0xffff_ffff]) {
        (register: UInt64) in
        refused(kit_probe_rdmsr, 0, 0, register)
        refused(kit_probe_wrmsr, 0, 0, register)
    }
    refused(kit_probe_wrmsr, 0, 0, efer)
    run(kit_probe_iret_ring0, 0, 0, 0).traps(generalProtection, 0x10, "iretq to ring 0")
    cpuDecides(run)
}

/// Instructions whose trap depends on the CPU.
func cpuDecides(_ run: Runner) {
    let leaf7 = kit_cpuid(7, 0)
    let hasINVPCID = leaf7.ebx & 1 << 10 != 0
    run(kit_probe_invpcid, kit_stack_area(0), 2, 0)
        .traps(hasINVPCID ? generalProtection : invalidOpcode, 0, "invpcid")
    forEach([kit_probe_monitor, kit_probe_vmcall, kit_probe_vmmcall, kit_probe_rsm]) { instruction in
        run(instruction, 0, 0, 0).traps(invalidOpcode, 0, "monitor, vmcall, vmmcall, rsm")
    }
    // AMD has no SYSENTER in long mode: #UD; elsewhere SYSENTER_CS is 0: #GP(0).
    forEach([kit_probe_sysenter, kit_probe_sysexit]) { (instruction: kit_probe) in
        let result = run(instruction, 0, 0, 0)
        check(result.trap.taken == 1 && result.trap.error == 0, "sysenter and sysexit trap")
        check(result.trap.vector == 13 || result.trap.vector == 6, "with #GP or #UD")
    }
    guard leaf7.ecx & 1 << 2 != 0 else { return }
    forEach([kit_probe_sgdt, kit_probe_sidt, kit_probe_sldt, kit_probe_str, kit_probe_smsw]) { instruction in
        run(instruction, 0, 0, 0).traps(generalProtection, 0, "UMIP")
    }
}

/// Served for the guest kernel alone.
func notForUsers() {
    func refused(_ instruction: kit_probe, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) {
        userProbe(instruction, a, b, c).traps(generalProtection, 0, "privileged, by user code")
    }
    refused(kit_probe_cli)
    refused(kit_probe_sti)
    refused(kit_probe_hlt)
    refused(kit_probe_inb, 0, 0x80)
    refused(kit_probe_inl, 0, 0xcf8)
    refused(kit_probe_inb_fixed)
    refused(kit_probe_outb, 0, 0xe9)
    refused(kit_probe_outl, 0, 0xcf8)
    refused(kit_probe_wbinvd)
    refused(kit_probe_invd)
    refused(kit_probe_clts)
    refused(kit_probe_read_cr0)
    refused(kit_probe_read_cr2)
    refused(kit_probe_read_cr4)
    refused(kit_probe_write_cr0, 0)
    refused(kit_probe_write_cr4, 0)
    refused(kit_probe_rdmsr, 0, 0, efer)
    refused(kit_probe_rdmsr, 0, 0, fsBase)
    refused(kit_probe_wrmsr, 0, 0, fsBase)
}

func servedForKernel() {
    probe(kit_probe_cli).passes("cli")
    probe(kit_probe_sti).passes("sti")
    probe(kit_probe_wbinvd).passes("wbinvd")
    probe(kit_probe_invd).traps(13, 0, "invd, which would lose what other VMs wrote")
    probe(kit_probe_clts).passes("clts")
    let byte = probe(kit_probe_inb, 0x1234_5600, 0x80)
    byte.passes("inb")
    equal(byte.value, 0x1234_56ff, "inb reads all ones into AL and nothing else")
    equal(probe(kit_probe_inw, 0x1234_0000, 0x80).value, 0x1234_ffff, "inw")
    equal(probe(kit_probe_inl, 0, 0xcf8).value, 0xffff_ffff, "inl")
    probe(kit_probe_inb_fixed).passes("inb of a fixed port")
    probe(kit_probe_outb, 0x55, 0x80).passes("outb")
    probe(kit_probe_outl, 0x55, 0xcf8).passes("outl")
    let cr0 = probe(kit_probe_read_cr0)
    cr0.passes("read CR0")
    equal(cr0.value & 0x8001_0001, 0x8001_0001, "CR0 has PG, WP and PE")
    let cr4 = probe(kit_probe_read_cr4)
    cr4.passes("read CR4")
    equal(cr4.value & 0x20, 0x20, "CR4 has PAE")
    let absent = testArea + 0x123_4567_8000
    _ = probe(kit_probe_load, absent)
    equal(probe(kit_probe_read_cr2).value, absent, "CR2 is the guest's own")
    writesChangeNothing(cr0.value, cr4.value)
    modelSpecificRegisters()
}

/// Writes to CR0 and CR4 that a guest kernel makes while it boots are ignored.
func writesChangeNothing(_ cr0: UInt64, _ cr4: UInt64) {
    forEach([0, cr0 ^ 1 << 16, ~0]) { value in
        probe(kit_probe_write_cr0, value).passes("write CR0")
        equal(probe(kit_probe_read_cr0).value, cr0, "CR0 stays")
    }
    forEach([0, cr4 | 1 << 8, ~0]) { value in
        probe(kit_probe_write_cr4, value).passes("write CR4")
        equal(probe(kit_probe_read_cr4).value, cr4, "CR4 stays")
    }
    let longMode: UInt64 = 1 << 10
    check(probe(kit_probe_rdmsr, 0, 0, efer).value & longMode != 0, "EFER has LMA")
}

func modelSpecificRegisters() {
    forEach([fsBase, gsBase, kernelGSBase]) { register in
        let base = 0x0000_1234_5678_9000 + register
        probe(kit_probe_wrmsr, base & 0xffff_ffff, base >> 32, register).passes("wrmsr")
        let value = probe(kit_probe_rdmsr, 0, 0, register)
        value.passes("rdmsr")
        equal(value.value, base, "rdmsr gives back what wrmsr set")
        probe(kit_probe_wrmsr, 0, 0x8000_0000, register).traps(13, 0, "a base that is not canonical")
        equal(probe(kit_probe_rdmsr, 0, 0, register).value, base, "which changed nothing")
    }
    equal(probe(kit_probe_read_fs_base).value, 0x0000_1234_5678_9000 + fsBase, "the FS base is live")
    equal(probe(kit_probe_read_gs_base).value, 0x0000_1234_5678_9000 + gsBase, "and the GS base")
    let before = kit_rdtsc()
    let counter = probe(kit_probe_rdmsr, 0, 0, 0x10)
    counter.passes("rdmsr of the TSC")
    check(counter.value >= before && counter.value <= kit_rdtsc(), "the TSC's MSR is the TSC")
}

/// hlt sleeps until an event, as the hypercall does.
func halts() {
    let before = Events.timers
    let deadline = Clock.now + 5 * Clock.millisecond
    Clock.setTimer(deadline)
    probe(kit_probe_hlt).passes("hlt")
    check(Clock.now >= deadline, "hlt slept")
    equal(Events.timers, before + 1, "and the event was delivered")
}
