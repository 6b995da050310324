// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// A vCPU's life: one word of its state, which any vCPU may move on by compare and exchange.
//
//      blank ◄──► claimed ◄──► ready ──► up ◄──► down
//
// Whoever claims a vCPU may write to what it will run with: nobody else does, and it has never run
// guest code. One that is down is not claimed: it may be on its way to where it notices, with a
// list of calls to be done before. All else that others may do to a vCPU is to raise its attention.
// A vCPU that is not up can still come into the core, since events are posted to it, but goes no
// further (`Attention.serve`).

import CCore
import CPenumbra

enum Stage: UInt32 {
    /// It has nothing to run with.
    case blank = 0
    /// Another vCPU writes to its state.
    case claimed = 1
    /// It has registers to start with, and was never up.
    case ready = 2
    case up = 3
    /// It was up, and goes on where it was once it is up again.
    case down = 4
}

/// What a vCPU starts with beside `penumbra_vcpu.start`.
struct InitialRegisters {
    var rax: UInt64 = 0
    var rbx: UInt64 = 0
    var rcx: UInt64 = 0
    var rdx: UInt64 = 0
    var rbp: UInt64 = 0
    var r8: UInt64 = 0
    var r9: UInt64 = 0
    var r10: UInt64 = 0
    var r11: UInt64 = 0
    var r12: UInt64 = 0
    var r13: UInt64 = 0
    var r14: UInt64 = 0
    var r15: UInt64 = 0
    var rflags: UInt64 = 0
    var fsBase: UInt64 = 0
    /// Of guest kernel mode, which is what a vCPU starts in, and of guest user mode.
    var gsBase: UInt64 = 0
    var inactiveGSBase: UInt64 = 0
    /// Frame of the user's root, 0: none.
    var userRoot: UInt64 = 0
}

extension VCPU {
    // The stage is the state's first word.
    private var stageAddress: UInt { UInt(bitPattern: state) }

    /// What is read after it is at least as new.
    var stage: Stage { Stage(rawValue: ccore_load_acquire32(stageAddress)) ?? .claimed }

    /// - Returns: false if the vCPU was not in that stage; nothing has changed then.
    func advance(from old: Stage, to new: Stage) -> Bool {
        ccore_compare_exchange32(stageAddress, old.rawValue, new.rawValue)
    }

    /// Ends what a claim began: all that was written before is seen by who finds the new stage.
    func settle(as stage: Stage) { ccore_store_release32(stageAddress, stage.rawValue) }
}
