// SPDX-License-Identifier: Apache-2.0

/// Runs every rule over one image.
public struct Linter {
    public struct Report: Sendable {
        public internal(set) var findings: [Finding]
        public let functionCount: Int
        /// From each entry of the image, deepest first.
        public let stackChains: [StackChain]
    }

    private let allow: AllowList

    public init(allow: AllowList) { self.allow = allow }

    /// `image` is absent when only a disassembly is at hand; the rules on its layout then rest.
    public func check(_ disassembly: Disassembly, image: ELFImage? = nil) -> Report {
        var ledger = Ledger(allow: allow)
        let disassembly = (image.map(disassembly.addingAliases) ?? disassembly).filter {
            !ledger.excuses(.data, $0)
        }
        for function in disassembly.functions {
            InstructionRules.check(function, &ledger)
            RuntimeRules.check(function, in: disassembly, &ledger)
        }
        EntryTextRules(disassembly, entrySections: Self.entrySections(of: image)).check(&ledger)
        let chains = StackRules(disassembly).check(&ledger)
        if let image { ImageRules.check(image, &ledger) }
        ledger.reportUnusedExceptions()
        return Report(
            findings: ledger.findings, functionCount: disassembly.functions.count, stackChains: chains)
    }

    private static func entrySections(of image: ELFImage?) -> [Range<UInt64>] {
        (image?.sections ?? []).filter { $0.isAllocated && $0.name.hasPrefix(".entry") }.map {
            $0.address..<($0.address &+ max($0.size, 1))
        }
    }
}
