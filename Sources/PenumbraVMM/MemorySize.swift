// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc

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

/// The memory of the host.
enum HostMemory {
    /// All of it, used or not.
    static var size: UInt64 { UInt64(sysconf(Int32(_SC_PHYS_PAGES))) * UInt64(PENUMBRA_PAGE_SIZE) }

    /// A guest's memory is taken as the guest uses it; one that could never get all is refused at once.
    static func check(_ wanted: MemorySize, against size: UInt64 = size) throws(VMMError) {
        guard wanted.bytes <= size else { throw .moreThanHost(wanted: wanted.bytes, has: size) }
    }
}
