// SPDX-License-Identifier: Apache-2.0

/// Entry text is all of the image that stays mapped while a guest runs in the restricted view:
/// what it calls or reads must be mapped there too, unless it has loaded the core's root first.
struct EntryTextRules {
    static let section = ".entry.text"

    private let disassembly: Disassembly
    private let spans: [Range<UInt64>]
    private let isEntryMapped: (UInt64) -> Bool

    /// `entrySections`: where the image's `.entry.*` sections lie; without an image, what the
    /// disassembly itself shows of them.
    init(_ disassembly: Disassembly, entrySections: [Range<UInt64>]) {
        self.disassembly = disassembly
        let shown = disassembly.functions.filter { $0.section == Self.section }.compactMap { function in
            function.instructions.last.map { function.address..<($0.address + 1) }
        }
        let spans = entrySections.isEmpty ? shown : entrySections
        self.spans = spans
        isEntryMapped = { address in
            spans.contains { $0.contains(address) } || AddressMap.vCPUs.contains(address)
        }
    }

    func check(_ ledger: inout Ledger) {
        for function in disassembly.functions where function.section == Self.section {
            for instruction in function.instructions {
                checkBranch(instruction, function, &ledger)
                checkReference(instruction, function, &ledger)
            }
        }
    }

    private func checkBranch(_ instruction: Instruction, _ function: Function, _ ledger: inout Ledger) {
        guard let target = instruction.branchTarget, !isEntryMapped(target) else { return }
        let callee = disassembly.functionIndex(containing: target).map { disassembly.functions[$0].symbol }
        let name = callee ?? "0x" + String(target, radix: 16)
        guard !ledger.excuses(.entryCall, named: name) else { return }
        ledger.report(
            Finding(
                .entryText, in: function, at: instruction.address,
                "`\(instruction.mnemonic)` leaves entry text for \(name)",
                remedy:
                    "move the callee to \(Self.section), or list `entry-call` if CR3 is the core's by then"))
    }

    private func checkReference(_ instruction: Instruction, _ function: Function, _ ledger: inout Ledger) {
        guard let (address, name) = instruction.reference, AddressMap.slot.contains(address),
            !isEntryMapped(address), !ledger.excuses(.entryReference, named: name)
        else { return }
        ledger.report(
            Finding(
                .entryText, in: function, at: instruction.address,
                "`\(instruction.text)` refers to \(name), which the entry view does not map",
                remedy:
                    "place it in an .entry section, or list `entry-reference` if CR3 is the core's by then"))
    }
}

extension Instruction {
    /// The image address that an instruction names: RIP-relative, or as a 64-bit immediate.
    fileprivate var reference: (address: UInt64, name: String)? {
        if operands.contains("(%rip)") {
            let words = comment.split(separator: " ")
            guard let address = words.first.flatMap(UInt64.init(hexadecimal:)) else { return nil }
            return (
                address, words.dropFirst().first.map(Self.symbolName) ?? "0x" + String(address, radix: 16)
            )
        }
        guard mnemonic.hasPrefix("mov"), let value = immediate else { return nil }
        let address = UInt64(bitPattern: value)
        return (address, "0x" + String(address, radix: 16))
    }

    /// `<table+0x8>` is about `table`.
    private static func symbolName(_ text: Substring) -> String {
        let name = text.drop { $0 == "<" }.prefix { $0 != ">" }
        guard let plus = name.lastIndex(of: "+"), name[plus...].hasPrefix("+0x") else { return String(name) }
        return String(name[..<plus])
    }
}
