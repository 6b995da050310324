// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A size as users write it: "16M".
public struct MemorySize: Equatable, Sendable {
    public let bytes: UInt64

    /// From 1 MiB, where micro-guests are loaded, to what the frame table can name.
    private static let limits: ClosedRange<UInt64> =
        (1 << 20)...(UInt64(PENUMBRA_MAX_FRAMES) << PENUMBRA_PAGE_SHIFT)

    public init(_ text: String) throws(VMMError) {
        let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        guard let last = text.last, let unit = units[Character(last.uppercased())],
            let number = UInt64(text.dropLast())
        else { throw .badMemorySize(text) }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit)
        guard !overflow, Self.limits.contains(bytes), bytes % UInt64(PENUMBRA_PAGE_SIZE) == 0 else {
            throw .badMemorySize(text)
        }
        self.bytes = bytes
    }
}
