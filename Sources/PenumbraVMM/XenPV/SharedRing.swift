// SPDX-License-Identifier: Apache-2.0

/// A ring of bytes in a guest's page, with a free-running number of bytes put in and one of bytes
/// taken out. The guest can write anything anywhere in it at any time: numbers are checked at each
/// use, and bytes are copied once.
struct SharedRing {
    /// The guest says that there are more bytes in it than it can hold.
    struct BadIndices: Error, Equatable {
        let produced, consumed: UInt32
    }

    let memory: GuestMemory
    let start: GuestPhysical
    /// A power of two.
    let size: UInt32
    let consumed: GuestPhysical
    let produced: GuestPhysical

    /// Both numbers, once, and how many bytes are in the ring.
    private func state() throws -> (produced: UInt32, consumed: UInt32, used: UInt32) {
        let produced = try memory.loadShared(at: produced)
        let consumed = try memory.loadShared(at: consumed)
        let used = produced &- consumed
        guard used <= size else { throw BadIndices(produced: produced, consumed: consumed) }
        return (produced, consumed, used)
    }

    /// Takes out all there is.
    func take() throws -> [UInt8] {
        let state = try state()
        var bytes: [UInt8] = []
        for (offset, length) in pieces(from: state.consumed, count: state.used) {
            bytes += try memory.read(length, at: start + offset)
        }
        if state.used > 0 { try memory.storeShared(state.produced, at: consumed) }
        return bytes
    }

    /// Puts in what fits; says how much that was.
    func put(_ bytes: some Collection<UInt8>) throws -> Int {
        let state = try state()
        let count = min(UInt32(clamping: bytes.count), size - state.used)
        var rest = Array(bytes.prefix(Int(count)))[...]
        for (offset, length) in pieces(from: state.produced, count: count) {
            try memory.write(rest.prefix(length), at: start + offset)
            rest = rest.dropFirst(length)
        }
        if count > 0 { try memory.storeShared(state.produced &+ count, at: produced) }
        return Int(count)
    }

    /// Where those bytes lie: in one piece, or in two around the end.
    private func pieces(from index: UInt32, count: UInt32) -> [(offset: UInt64, length: Int)] {
        let offset = index & (size - 1)
        let first = min(count, size - offset)
        return [(UInt64(offset), Int(first)), (0, Int(count - first))].filter { $0.length > 0 }
    }
}
