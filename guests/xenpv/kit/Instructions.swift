// SPDX-License-Identifier: Apache-2.0
// Random instructions of 64-bit mode, each exactly as long as the processor takes it to be: what
// follows it is int3. Formats: Intel SDM vol. 2, chapter 2 and appendix A; AMD APM vol. 3, appendix A.
import XenKit

/// Where an instruction is written: int3 before it begins.
struct InstructionPlace {
    let start: UInt64
    private(set) var length: UInt64 = 0
    /// More than any that is generated here, with something before it.
    private static let room: UInt64 = 48

    init(at start: UInt64) {
        self.start = start
        for offset in stride(from: 0, to: Self.room, by: 8) as StrideTo<UInt64> {
            kit_store64(start + offset, 0xcccc_cccc_cccc_cccc)
        }
    }

    /// The low bytes of a number.
    mutating func append(_ value: UInt64, bytes: UInt64 = 1) {
        for index in 0..<bytes as Range<UInt64> {
            kit_store8(start + length, UInt8(truncatingIfNeeded: value >> (8 * index)))
            length += 1
        }
    }
}

/// What is behind opcode and operands.
private enum Immediate {
    case none
    case byte
    /// 16 bits, or 32.
    case operand
    case bytes(UInt64)
}

private struct Format {
    var hasModRM = false
    var immediate = Immediate.none
}

struct InstructionGenerator {
    var random: Random
    /// What all registers hold when the instruction starts.
    let middle: UInt64
    /// RSP stays where a frame can be written: where it is not, a guest kernel is lost.
    let keepsStack: Bool
    private var isOperand16 = false
    private var isAddress32 = false
    private var repeats = false
    private var isLocked = false
    private var rex: UInt64 = 0

    init(random: Random, middle: UInt64, keepsStack: Bool) {
        self.random = random
        self.middle = middle
        self.keepsStack = keepsStack
    }

    /// The opcode is that of the one-byte map, then of the two-byte map, by turns.
    ///
    /// Left out is what QEMU 7.2 does not survive, or takes for something else:
    /// - 0xcf: it takes an IRET of user code into virtual-8086 mode, which long mode does not have;
    /// - LOCK with BT, BTS, BTR and BTC of a register, which is #UD: "tcg fatal error";
    /// - VEX prefixes (0xc4, 0xc5): it jumps to address 0 for 65 c4 a2 c8 0c c2; with them the maps 0f 38
    ///   and 0f 3a, which have the same decoder.
    mutating func generate(_ number: UInt64, into place: inout InstructionPlace) {
        let opcode = number & 0xff
        let isTwoByte = number & 0x100 != 0
        if Self.isLeftOut(opcode, isTwoByte: isTwoByte) { return }
        let isVector = !isTwoByte && opcode == 0x62
        prefixes(withREX: !isVector, into: &place)
        if isVector { return vector(into: &place) }
        isTwoByte ? twoByte(opcode, into: &place) : oneByte(opcode, into: &place)
    }

    /// 0x0f is the two-byte map itself.
    private static func isLeftOut(_ opcode: UInt64, isTwoByte: Bool) -> Bool {
        switch opcode {
        case 0x0f, 0xc4, 0xc5, 0xcf: !isTwoByte
        case 0x38, 0x3a: isTwoByte
        default: false
        }
    }

    private mutating func prefixes(withREX: Bool, into place: inout InstructionPlace) {
        isOperand16 = random.chance(12)
        isAddress32 = random.chance(8)
        let repetition = random.chance(12) ? 0xf2 + random.below(2) : 0
        repeats = repetition == 0xf2
        if isOperand16 { place.append(0x66) }
        if isAddress32 { place.append(0x67) }
        if repetition != 0 { place.append(repetition) }
        isLocked = random.chance(6)
        if isLocked { place.append(0xf0) }
        if random.chance(8) { place.append(0x6564_3e36_2e26 >> (8 * random.below(6))) }
        rex = withREX && random.chance(40) ? 0x40 | random.below(16) : 0
        if rex != 0 { place.append(rex) }
    }

    private var isWide: Bool { rex & 8 != 0 }

    // MARK: - Maps

    private mutating func oneByte(_ opcode: UInt64, into place: inout InstructionPlace) {
        let changesStack = keepsStack && rex & 1 == 0 && (opcode == 0x5c || opcode == 0xbc)
        place.append(changesStack ? opcode ^ 1 : opcode)
        let format = Self.oneByteFormat(opcode)
        var immediate = format.immediate
        if format.hasModRM {
            let isGroup = Self.isOneByteGroup(opcode)
            let register = modRM(into: &place, isGroup: isGroup, isFloat: opcode & 0xf8 == 0xd8)
            // TEST is the only one of its group with an immediate.
            if opcode & 0xfe == 0xf6 && register > 1 { immediate = .none }
        }
        if opcode & 0xfc == 0xa0 { return offset(into: &place) }
        if opcode & 0xf8 == 0xb8 && isWide { immediate = .bytes(8) }
        append(immediate, into: &place)
    }

    private mutating func twoByte(_ opcode: UInt64, into place: inout InstructionPlace) {
        place.append(0x0f)
        // BSWAP of ESP.
        let changesStack = keepsStack && opcode == 0xcc && rex & 1 == 0
        place.append(changesStack ? 0xcd : opcode)
        let format = Self.twoByteFormat(opcode)
        // EXTRQ and INSERTQ of SSE4a: of registers only; of memory QEMU reads what is no operand.
        let isExtract = opcode == 0x78 && (isOperand16 || repeats)
        if format.hasModRM {
            let needsMemory = isLocked && (opcode & 0xe7 == 0xa3 || opcode == 0xba)
            let modes: Range<UInt64> = needsMemory ? 0..<3 : isExtract ? 3..<4 : 0..<4
            _ = modRM(into: &place, isGroup: Self.isTwoByteGroup(opcode), isFloat: false, modes: modes)
        }
        append(isExtract ? .bytes(2) : format.immediate, into: &place)
    }

    /// An EVEX prefix: map and registers' upper bits, a fourth register, a mask; then opcode and operands.
    private mutating func vector(into place: inout InstructionPlace) {
        place.append(0x62)
        let map = 1 + random.below(3)
        rex = random.below(8)
        // R, X and B are inverted; R' is beside them.
        place.append((~rex & 7) << 5 | random.below(2) << 4 | map)
        place.append(random.below(256) | 4)
        place.append(random.below(256))
        let opcode = random.below(256)
        place.append(opcode)
        _ = modRM(into: &place, isGroup: false, isFloat: false)
        var hasByte = map == 3
        if map == 1, case .byte = Self.twoByteFormat(opcode).immediate { hasByte = true }
        append(hasByte ? .byte : .none, into: &place)
    }

    // MARK: - Operands

    /// - Returns: the register field, which is a part of the opcode in a group.
    private mutating func modRM(
        into place: inout InstructionPlace, isGroup: Bool, isFloat: Bool, modes: Range<UInt64> = 0..<4
    ) -> UInt64 {
        let mode = modes.lowerBound + random.below(UInt64(modes.count))
        var register = random.below(8)
        var operand = random.below(8)
        if keepsStack && !isGroup && register == 4 && rex & 4 == 0 { register = 5 }
        if keepsStack && !isFloat && mode == 3 && operand == 4 && rex & 1 == 0 { operand = 5 }
        place.append(mode << 6 | register << 3 | operand)
        guard mode != 3 else { return register }
        var hasDisplacement = mode == 0 && operand == 5
        if operand == 4 {
            let base = random.below(256)
            place.append(base)
            hasDisplacement = mode == 0 && base & 7 == 5
        }
        if mode == 1 { place.append(random.below(256)) }
        if mode == 2 || hasDisplacement { place.append(displacement(), bytes: 4) }
        return register
    }

    /// As often near as anywhere.
    private mutating func displacement() -> UInt64 {
        random.chance(50) ? random.next() : random.below(0x1_0000) &- 0x8000
    }

    /// The address in MOV of AL to EAX.
    private mutating func offset(into place: inout InstructionPlace) {
        let value = random.chance(50) ? random.next() : middle + random.below(0x1000)
        place.append(value, bytes: isAddress32 ? 4 : 8)
    }

    /// Of a near branch with an operand-size prefix AMD's processors read 16 bits, Intel's 32, of which
    /// the upper half is then int3.
    private mutating func append(_ immediate: Immediate, into place: inout InstructionPlace) {
        switch immediate {
        case .none: break
        case .byte: place.append(random.below(256))
        case .operand: place.append(random.next(), bytes: isOperand16 && !isWide ? 2 : 4)
        case .bytes(let count): place.append(random.next(), bytes: count)
        }
    }

    // MARK: - Formats

    private static func oneByteFormat(_ opcode: UInt64) -> Format {
        if opcode < 0x40 {
            switch opcode & 7 {
            case 0...3: return Format(hasModRM: true)
            case 4: return Format(immediate: .byte)
            case 5: return Format(immediate: .operand)
            default: return Format()
            }
        }
        switch opcode {
        case 0x63, 0x84...0x8f, 0xd0...0xd3, 0xd8...0xdf, 0xfe, 0xff: return Format(hasModRM: true)
        case 0x69, 0x81, 0xc7, 0xf7: return Format(hasModRM: true, immediate: .operand)
        case 0x6b, 0x80, 0x82, 0x83, 0xc0, 0xc1, 0xc6, 0xf6: return Format(hasModRM: true, immediate: .byte)
        case 0x68, 0xa9, 0xb8...0xbf, 0xe8, 0xe9: return Format(immediate: .operand)
        case 0x6a, 0x70...0x7f, 0xa8, 0xb0...0xb7, 0xcd, 0xe0...0xe7, 0xeb: return Format(immediate: .byte)
        case 0xc2, 0xca: return Format(immediate: .bytes(2))
        case 0xc8: return Format(immediate: .bytes(3))
        default: return Format()
        }
    }

    private static func twoByteFormat(_ opcode: UInt64) -> Format {
        switch opcode {
        case 0x04...0x0c, 0x0e, 0x24...0x27, 0x30...0x37, 0x39, 0x3b...0x3f, 0x77, 0xa0...0xa2, 0xa8...0xaa,
            0xc8...0xcf:
            Format()
        case 0x80...0x8f: Format(immediate: .operand)
        case 0x0f, 0x70...0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4...0xc6: Format(hasModRM: true, immediate: .byte)
        default: Format(hasModRM: true)
        }
    }

    /// The register field is a part of the opcode, not RSP's number.
    private static func isOneByteGroup(_ opcode: UInt64) -> Bool {
        switch opcode {
        case 0x80...0x83, 0x8c, 0x8e, 0x8f, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0...0xd3, 0xd8...0xdf, 0xf6, 0xf7,
            0xfe,
            0xff:
            true
        default: false
        }
    }

    private static func isTwoByteGroup(_ opcode: UInt64) -> Bool {
        switch opcode {
        case 0x00, 0x01, 0x0d, 0x18...0x1f, 0x20...0x23, 0x71...0x73, 0xae, 0xba, 0xc7: true
        default: false
        }
    }
}
