// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What a guest kernel sees of its processor: features by lists of what works at CPL 3 on page
// tables of 4 KiB, model registers by a table, and ports with nothing behind them.

import CPenumbra

/// One leaf of CPUID.
struct Identity {
    var eax: UInt32 = 0
    var ebx: UInt32 = 0
    var ecx: UInt32 = 0
    var edx: UInt32 = 0
}

/// Feature bits that are passed on (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E).
private enum Offered {
    /// Leaf 1: FPU DE TSC MSR PAE CX8 CMOV PAT CLFSH MMX FXSR SSE SSE2 SS.
    static var leaf1EDX: UInt32 { bits(0, 2, 4, 5, 6, 8, 15, 16) | bits(19, 23, 24, 25, 26, 27) }
    /// SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE; POPCNT AES XSAVE AVX F16C RDRAND.
    static var leaf1ECX: UInt32 { bits(0, 1, 9, 12, 13, 19, 20, 22) | bits(23, 25, 26, 28, 29, 30) }
    /// FMA, AVX and F16C.
    static var leaf1AVX: UInt32 { bits(12, 28, 29) }
    static var leaf1XSAVE: UInt32 { bits(26) }
    static var leaf1OSXSAVE: UInt32 { bits(27) }
    static var leaf1Hypervisor: UInt32 { bits(31) }

    /// Leaf 7: FSGSBASE BMI1 AVX2 FDP BMI2 ERMS no-CS-DS; RDSEED ADX CLFLUSHOPT CLWB SHA; AVX-512.
    static var leaf7EBX: UInt32 {
        bits(0, 3, 5, 6, 8, 9, 13) | bits(18, 19, 23, 24, 29) | leaf7EBX512
    }
    /// AVX512F DQ IFMA CD BW VL.
    static var leaf7EBX512: UInt32 { bits(16, 17, 21, 28, 30, 31) }
    static var leaf7EBXAVX: UInt32 { bits(5) }
    /// VBMI VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ; CLDEMOTE MOVDIRI MOVDIR64B.
    static var leaf7ECX: UInt32 { bits(1, 6, 8, 9, 10, 11, 12, 14) | bits(25, 27, 28) }
    static var leaf7ECX512: UInt32 { bits(1, 6, 11, 12, 14) }
    static var leaf7ECXAVX: UInt32 { bits(9, 10) }
    /// FSRM MD_CLEAR SERIALIZE.
    static var leaf7EDX: UInt32 { bits(4, 10, 14) }
    /// AVX-VNNI AVX512-BF16 FZRM FSRS FSRC AVX-IFMA.
    static var leaf71EAX: UInt32 { bits(4, 5, 10, 11, 12, 23) }

    /// Leaf 0x80000001: SYSCALL NX MMXEXT FFXSR LM; and, on AMD, leaf 1's bits once more.
    static var extendedEDX: UInt32 { bits(11, 20, 22, 25, 29) | leaf1EDX & 0x0183_f3ff }
    /// LAHF ABM SSE4A misaligned-SSE PREFETCHW.
    static var extendedECX: UInt32 { bits(0, 5, 6, 7, 8) }
    /// Leaf 0x80000008: CLZERO XSAVEERPTR.
    static var extended8EBX: UInt32 { bits(0, 2) }

    /// XSAVEOPT XSAVEC XGETBV1.
    static var xsave1EAX: UInt32 { bits(0, 1, 2) }

    private static func bits(
        _ a: UInt32, _ b: UInt32? = nil, _ c: UInt32? = nil, _ d: UInt32? = nil, _ e: UInt32? = nil,
        _ f: UInt32? = nil, _ g: UInt32? = nil, _ h: UInt32? = nil
    ) -> UInt32 {
        one(a) | one(b) | one(c) | one(d) | one(e) | one(f) | one(g) | one(h)
    }
    private static func one(_ bit: UInt32?) -> UInt32 { bit.map { 1 << $0 } ?? 0 }
}

/// Components of XCR0 (Intel SDM vol. 1, 13.1).
private enum ExtendedState {
    static var avx: UInt64 { 1 << 2 }
    static var avx512: UInt64 { 7 << 5 }
}

private enum Leaf {
    static var lastBasic: UInt32 { 0xd }
    static var lastExtended: UInt32 { 0x8000_0008 }
    static var hypervisor: UInt32 { 0x4000_0000 }
    static var lastHypervisor: UInt32 { 0x4000_0004 }
}

extension XenPV {
    /// CPUID for the guest's kernel, registers in and out.
    static func identify(_ vcpu: VCPU) {
        let leaf = UInt32(truncatingIfNeeded: vcpu.frame.rax)
        let subleaf = UInt32(truncatingIfNeeded: vcpu.frame.rcx)
        let identity = identity(vcpu, leaf, subleaf)
        vcpu.frame.rax = UInt64(identity.eax)
        vcpu.frame.rbx = UInt64(identity.ebx)
        vcpu.frame.rcx = UInt64(identity.ecx)
        vcpu.frame.rdx = UInt64(identity.edx)
    }

    private static func identity(_ vcpu: VCPU, _ leaf: UInt32, _ subleaf: UInt32) -> Identity {
        if leaf >= Leaf.hypervisor && leaf <= Leaf.lastHypervisor { return hypervisorLeaf(leaf, subleaf) }
        if leaf <= Leaf.lastBasic { return basicLeaf(vcpu, leaf, subleaf) }
        if leaf >= 0x8000_0000 && leaf <= Leaf.lastExtended { return extendedLeaf(leaf) }
        return Identity()
    }

    private static func basicLeaf(_ vcpu: VCPU, _ leaf: UInt32, _ subleaf: UInt32) -> Identity {
        var real = Processor.identify(leaf, subleaf)
        switch leaf {
        case 0: real.eax = min(real.eax, Leaf.lastBasic)
        case 1: firstLeaf(vcpu, &real)
        case 2: break
        case 4: real.eax &= 0x3fff  // caches are shared with nobody
        case 7: featureLeaf(vcpu, subleaf, &real)
        case 0xd: stateLeaf(vcpu, subleaf, &real)
        default: return Identity()
        }
        return real
    }

    private static func firstLeaf(_ vcpu: VCPU, _ real: inout Identity) {
        let offered = vcpu.page.pointee.offered_xcr0
        real.ebx = real.ebx & 0xffff | 1 << 16 | vcpu.id << 24
        real.edx &= Offered.leaf1EDX
        real.ecx = real.ecx & Offered.leaf1ECX | Offered.leaf1Hypervisor
        if offered & ExtendedState.avx == 0 { real.ecx &= ~Offered.leaf1AVX }
        if offered == 0 { real.ecx &= ~Offered.leaf1XSAVE }
        // Linux wants to see both before it sets CR4.OSXSAVE.
        if real.ecx & Offered.leaf1XSAVE != 0 { real.ecx |= Offered.leaf1OSXSAVE }
    }

    private static func featureLeaf(_ vcpu: VCPU, _ subleaf: UInt32, _ real: inout Identity) {
        let offered = vcpu.page.pointee.offered_xcr0
        let hasAVX = offered & ExtendedState.avx != 0
        let has512 = offered & ExtendedState.avx512 == ExtendedState.avx512
        if subleaf == 0 {
            real.eax = min(real.eax, 1)
            real.ebx &=
                Offered.leaf7EBX & ~(hasAVX ? 0 : Offered.leaf7EBXAVX)
                & ~(has512 ? 0 : Offered.leaf7EBX512)
            real.ecx &=
                Offered.leaf7ECX & ~(hasAVX ? 0 : Offered.leaf7ECXAVX)
                & ~(has512 ? 0 : Offered.leaf7ECX512)
            real.edx &= Offered.leaf7EDX
        } else {
            real = Identity(eax: subleaf == 1 && has512 ? real.eax & Offered.leaf71EAX : 0)
        }
    }

    /// Sizes follow the guest's own XCR0, which is loaded.
    private static func stateLeaf(_ vcpu: VCPU, _ subleaf: UInt32, _ real: inout Identity) {
        let offered = vcpu.page.pointee.offered_xcr0
        switch subleaf {
        case 0:
            real.eax &= UInt32(truncatingIfNeeded: offered)
            real.edx &= UInt32(truncatingIfNeeded: offered >> 32)
        case 1:
            real = Identity(eax: real.eax & Offered.xsave1EAX, ebx: compactedSize(vcpu.page.pointee.xcr0))
        default:
            if subleaf > 62 || offered >> UInt64(subleaf) & 1 == 0 { real = Identity() }
        }
    }

    /// The processor's own figure counts what the host has enabled in IA32_XSS as well.
    private static func compactedSize(_ xcr0: UInt64) -> UInt32 {
        var size: UInt32 = 576
        for component in 2..<63 as Range<UInt32> where xcr0 >> UInt64(component) & 1 != 0 {
            let part = Processor.identify(0xd, component)
            if part.ecx & 2 != 0 { size = (size &+ 63) & ~63 }
            size = size &+ part.eax
        }
        return size
    }

    private static func extendedLeaf(_ leaf: UInt32) -> Identity {
        var real = Processor.identify(leaf, 0)
        switch leaf {
        case 0x8000_0000: real.eax = min(real.eax, Leaf.lastExtended)
        case 0x8000_0001:
            real.ecx &= Offered.extendedECX
            real.edx &= Offered.extendedEDX
            real.ebx = 0
        case 0x8000_0007: real = Identity(edx: real.edx & 1 << 8)  // an invariant TSC
        case 0x8000_0008: real = Identity(eax: real.eax & 0xffff, ebx: real.ebx & Offered.extended8EBX)
        default: break
        }
        return real
    }

    /// public/arch-x86/cpuid.h. The TSC is the processor's own, never emulated.
    private static func hypervisorLeaf(_ leaf: UInt32, _ subleaf: UInt32) -> Identity {
        let clock = vmPage.pointee.clock
        switch leaf {
        case 0x4000_0000:
            return Identity(
                eax: Leaf.lastHypervisor, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e)
        case 0x4000_0001: return Identity(eax: UInt32(truncatingIfNeeded: interfaceVersion))
        case 0x4000_0002: return Identity(eax: 1, ebx: 0x4000_0000, ecx: 1)
        case 0x4000_0003 where subleaf == 0:
            return Identity(eax: 2, ebx: 2, ecx: UInt32(truncatingIfNeeded: clock.tsc_khz))
        case 0x4000_0003 where subleaf == 1:
            return Identity(ecx: clock.mul, edx: UInt32(bitPattern: clock.shift))
        case 0x4000_0003 where subleaf == 2:
            return Identity(eax: UInt32(truncatingIfNeeded: clock.tsc_khz))
        default: return Identity()
        }
    }

    // MARK: - Model registers

    private enum Register {
        static var platform: UInt32 { 0x17 }
        static var apicBase: UInt32 { 0x1b }
        static var microcode: UInt32 { 0x8b }
        static var miscEnable: UInt32 { 0x1a0 }
        static var pageAttributes: UInt32 { 0x277 }
        static var amdHardwareConfiguration: UInt32 { 0xc001_0015 }
        static var amdDecodeConfiguration: UInt32 { 0xc001_1029 }
    }

    static func readModelRegister(_ vcpu: VCPU, _ register: UInt32) -> UInt64? {
        switch register {
        case Register.platform, Register.microcode, Register.amdHardwareConfiguration: 0
        // Enabled; on vCPU 0 the bootstrap processor (Intel SDM vol. 3, 10.4.4).
        case Register.apicBase: vcpu.id == 0 ? 0xfee0_0900 : 0xfee0_0800
        // Fast strings; neither branch trace store nor PEBS.
        case Register.miscEnable: 1 << 0 | 1 << 11 | 1 << 12
        // Xen's encoding; all of a guest's memory is write-back whatever it says.
        case Register.pageAttributes: 0x0000_0501_0007_0406
        // LFENCE serialises.
        case Register.amdDecodeConfiguration: 1 << 1
        default: nil
        }
    }

    static func writeModelRegister(_ vcpu: VCPU, _ register: UInt32, _ value: UInt64) -> Bool {
        register == Register.microcode || register == Register.miscEnable
    }

    /// Nothing is there: all ones. The interval timer reads as 0, or its calibration would
    /// read it 100,000 times.
    static func readPort(_ port: UInt16) -> UInt64 {
        port >= 0x40 && port <= 0x43 ? 0 : .max
    }
}
