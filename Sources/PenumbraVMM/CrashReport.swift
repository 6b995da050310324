// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// Why a VM was ended by force (interface/penumbra/exit.h).
public struct CrashReport: Equatable, Sendable, CustomStringConvertible {
    public enum Culprit: Sendable {
        case guest, core, host, user
    }

    public let reason: UInt64
    public let rip: UInt64
    public let cr2: UInt64
    public let errorCode: UInt64
    public let vector: UInt64
    public let detail: UInt64

    public init(reason: UInt64, rip: UInt64, cr2: UInt64, errorCode: UInt64, vector: UInt64, detail: UInt64) {
        (self.reason, self.rip, self.cr2) = (reason, rip, cr2)
        (self.errorCode, self.vector, self.detail) = (errorCode, vector, detail)
    }

    private static let reasons: [(number: Int32, name: String, culprit: Culprit, meaning: String)] = [
        (
            PENUMBRA_CRASH_TRIPLE_FAULT, "triple-fault", .guest,
            "an exception that the guest has no handler for"
        ),
        (PENUMBRA_CRASH_BAD_STACK, "bad-stack", .guest, "the guest's kernel stack took no frame"),
        (PENUMBRA_CRASH_BAD_ROOT, "bad-root", .guest, "a page-table root that is no frame of the guest's"),
        (PENUMBRA_CRASH_FAULT_LOOP, "fault-loop", .guest, "the same fault again and again"),
        (PENUMBRA_CRASH_BAD_IRET, "bad-iret", .guest, "a return to a context that cannot be"),
        (PENUMBRA_CRASH_OUT_OF_POOL, "out-of-pool", .guest, "more page tables than the VM may have"),
        (PENUMBRA_CRASH_OUT_OF_MEMORY, "out-of-memory", .host, "the host had no page to give"),
        (PENUMBRA_CRASH_BAD_START, "bad-start", .guest, "impossible initial registers"),
        (PENUMBRA_CRASH_CORE_TRAP, "core-trap", .core, "a check in the core failed"),
        (PENUMBRA_CRASH_CORE_PAGE_FAULT, "core-page-fault", .core, "the core touched what is not mapped"),
        (PENUMBRA_CRASH_CORE_GP, "core-gp", .core, "a general protection fault in the core"),
        (PENUMBRA_CRASH_CORE_DOUBLE_FAULT, "core-double-fault", .core, "a double fault in the core"),
        (PENUMBRA_CRASH_CORE_EXCEPTION, "core-exception", .core, "an exception in the core"),
        (PENUMBRA_CRASH_CORE_STUCK, "core-stuck", .core, "seconds in the core without an exit"),
        (PENUMBRA_CRASH_INVARIANT, "invariant", .core, "the checker found a broken invariant"),
        (PENUMBRA_CRASH_PROTOCOL, "protocol", .core, "an exit that is not on the list"),
        (PENUMBRA_CRASH_KILLED, "killed", .user, "ended on request"),
        (
            PENUMBRA_CRASH_MACHINE_CHECK, "machine-check", .host,
            "the host's memory is bad where the core used it"
        ),
    ]

    private var entry: (name: String, culprit: Culprit, meaning: String) {
        let found = Self.reasons.first { UInt64($0.number) == reason }
        // A module that is newer than this program may know more reasons.
        return found.map { ($0.name, $0.culprit, $0.meaning) } ?? (
            "reason-\(reason)", .core, "unknown to this program"
        )
    }

    public var name: String { entry.name }
    public var culprit: Culprit { entry.culprit }

    public var description: String {
        var text = "crash: \(name) at \(Self.hexadecimal(rip)): \(entry.meaning)"
        text += " (vector \(vector), error \(Self.hexadecimal(errorCode)), cr2 \(Self.hexadecimal(cr2))"
        return text + (detail == 0 ? ")" : ", detail \(detail))")
    }

    private static func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
