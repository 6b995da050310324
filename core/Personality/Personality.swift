// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The seam between the core's machinery and a guest interface. The machinery (vCPU, shadow
// memory, events, time) knows no ABI; a personality says what an entry means in its own.
// It is a generic parameter, so each gets its own specialised code and costs no indirection.
//
//      entry.S ─► World/Entries.swift ─► Personality ─► VirtualCPU, Memory ─► back
//
// Common to all personalities, and therefore not here: frames on the guest kernel's stack
// (VirtualCPU/Injection.swift), the gates, the event bytes of vcpu_info, and direct
// switching in assembly, which a personality turns on by `refreshFastPaths`.

/// Items of a guest-chosen count that one entry works on (docs/core.md, bounded time).
var sliceItems: UInt64 { 64 }

/// How much one entry may take from the shadows before the rest of its items waits: an item that
/// drops a table takes thousands of entries, and each is looked for in a list.
private var sliceRemovals: UInt64 { 1024 }

extension ShadowMemory {
    /// Whether an entry has taken its share from the shadows.
    /// - Parameter start: `removals` when it began. What other vCPUs take counts too.
    @inline(__always)
    func hasUsedSlice(since start: UInt64) -> Bool { removals &- start >= sliceRemovals }
}

protocol Personality {
    /// Policy of the VM's shadow memory.
    static var memoryPolicy: MemoryPolicy { get }

    /// A vCPU is about to load the roots that it starts with; it may happen again if this,
    /// or what follows, needs something first.
    static func prepareStart(_ vcpu: VCPU) -> MemoryStatus

    /// A vCPU has all that it starts with, and vcpu_info.
    static func started(_ vcpu: VCPU)

    /// `syscall` in guest kernel mode. The frame's RAX holds the number; RIP is past it.
    static func hypercall(_ vcpu: VCPU) -> Continuation

    /// An exception of the guest's that the machinery neither resolved nor emulated. The
    /// personality may take it (an ABI's own forced emulation); nil: inject it.
    static func exception(_ vcpu: VCPU, vector: UInt64, error: UInt64) -> Continuation?

    /// What `in` reads, zero-extended to eight bytes.
    static func readPort(_ port: UInt16) -> UInt64

    /// A model register that the machinery does not know; nil: the guest gets #GP(0).
    static func readModelRegister(_ vcpu: VCPU, _ register: UInt32) -> UInt64?

    /// Writes such a register; false: the guest gets #GP(0).
    static func writeModelRegister(_ vcpu: VCPU, _ register: UInt32, _ value: UInt64) -> Bool

    /// The deadline has passed.
    /// - Returns: other vCPUs that wait for that, to be kicked: a bit each.
    static func timerExpired(_ vcpu: VCPU) -> UInt64

    /// Ports bound to this vCPU were posted: make pending bits of them.
    /// - Returns: other vCPUs that wait for one of them, to be kicked: a bit each.
    static func drainPosted(_ vcpu: VCPU) -> UInt64

    /// The host has given this vCPU's CPU to others for longer than the guest knows.
    /// - Returns: done, or what is needed first; it is asked again then.
    static func noteStolenTime(_ vcpu: VCPU) -> MemoryStatus

    /// The VMM answered the request that this vCPU waited for.
    static func answered(_ vcpu: VCPU, _ result: UInt64)
}
