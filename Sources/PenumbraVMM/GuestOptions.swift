// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// What every kind of guest can be told.
public struct GuestOptions: Sendable {
    public var memory: MemorySize
    /// How many vCPUs.
    public var cpus = 1
    public var commandLine = ""
    /// Guest roots carry the entry view only, also on CPUs that do not need it.
    public var restricted = false
    /// Run the invariant checker after every operation; needs a debug core.
    public var debug = false
    /// Pages that the core may use for its tables; nil: in proportion to the memory.
    public var poolPages: Int?

    public init(memory: MemorySize) { self.memory = memory }

    func creation(personality: Int32, frames: UInt64, specialFrames: UInt32 = 0) -> penumbra_create_vm {
        var arguments = penumbra_create_vm()
        arguments.version = UInt32(PENUMBRA_INTERFACE_VERSION)
        arguments.personality = UInt32(personality)
        arguments.flags =
            (restricted ? UInt32(PENUMBRA_CREATE_RESTRICTED) : 0)
            | (debug ? UInt32(PENUMBRA_CREATE_DEBUG) : 0)
        arguments.ram_frames = UInt32(frames)
        arguments.special_frames = specialFrames
        arguments.pool_limit = Self.poolLimit(poolPages, frames: frames)
        return arguments
    }

    /// In whole chunks, as the module hands pages out.
    static func poolLimit(_ pages: Int?, frames: UInt64) -> UInt32 {
        let chunk = Int(PENUMBRA_POOL_CHUNK)
        // Both maps of all RAM, and as much again thrice for tables of the guest's own making.
        let wanted = pages ?? Int(PageTables.count(frames: frames)) * 4 + 1024
        return UInt32(min((wanted + chunk - 1) / chunk * chunk, Int(PENUMBRA_MAX_POOL_PAGES)))
    }
}
