// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// What the module found of the CPU, and the barriers against transient execution that it uses, by the names
/// of interface/penumbra/barriers.h.
public struct Speculation: Equatable, Sendable {
    /// PENUMBRA_CPU_*
    public let facts: UInt32
    /// PENUMBRA_BARRIER_*
    public let barriers: UInt32

    public init(facts: UInt32, barriers: UInt32) { (self.facts, self.barriers) = (facts, barriers) }

    public init(_ info: penumbra_info) { self.init(facts: info.cpu_facts, barriers: info.barriers) }

    public func has(_ fact: Int32) -> Bool { facts & UInt32(fact) != 0 }

    public var factNames: [String] { Self.names(of: facts, by: penumbra_cpu_fact_name) }
    public var barrierNames: [String] { Self.names(of: barriers, by: penumbra_barrier_name) }
    /// Those in use that the CPU does not need: asked for with the module's parameter.
    public var extraNames: [String] {
        Self.names(of: barriers & ~penumbra_barriers_needed(facts), by: penumbra_barrier_name)
    }

    private static func names(
        of bits: UInt32, by name: (UInt32) -> UnsafePointer<CChar>?
    ) -> [String] {
        (0..<32).map { UInt32(1) << $0 }.filter { bits & $0 != 0 }
            .map { bit in name(bit).map { String(cString: $0) } ?? "bit \(bit.trailingZeroBitCount)" }
    }
}
