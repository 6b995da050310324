// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

import CCore
import CPenumbra

/// The counters of one vCPU (counters.h). Only that vCPU writes them, so a load and a store
/// suffice; whoever reads gets a value that was true.
public struct Counters {
    private let base: UInt

    /// - Parameter base: core address of `penumbra_vcpu.counter`.
    @inline(__always) public init(base: UInt) { self.base = base }

    @inline(__always)
    func add(_ counter: penumbra_counter) {
        let address = base &+ UInt(counter.rawValue) &* 8
        ccore_store64(address, ccore_load64(address) &+ 1)
    }
}
