// SPDX-License-Identifier: Apache-2.0

/// The page of a guest's console (Xen's public/io/console.h, struct xencons_interface).
struct ConsoleRing {
    private let input: SharedRing
    private let output: SharedRing

    init(memory: GuestMemory, frame: UInt64) {
        let page = GuestPhysical(frame: frame)
        input = SharedRing(
            memory: memory, start: page, size: 1024, consumed: page + 0xc00, produced: page + 0xc04)
        output = SharedRing(
            memory: memory, start: page + 0x400, size: 2048, consumed: page + 0xc08, produced: page + 0xc0c)
    }

    /// What the guest wrote since the last call.
    func takeOutput() throws -> [UInt8] {
        var bytes: [UInt8] = []
        // No guest keeps us here: for what it writes meanwhile it signals again.
        for _ in 0..<16 {
            let more = try output.take()
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }

    /// Gives the guest what it has room for; says how much that was.
    func put(_ bytes: [UInt8]) throws -> Int { try input.put(bytes) }
}
