// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem
import Synchronization

/// A guest's output on its way to somebody who may read slowly, or never: a thread of its own
/// writes, a buffer of bounded size keeps what it could not write yet, and the oldest goes first
/// when that is full. So neither the guest nor the VMM ever waits for a reader.
public final class ConsoleOutput: Sendable {
    private struct State {
        var waiting: [UInt8] = []
        var dropped = 0
        var closed = false
    }

    private let limit: Int
    private let total: Int
    private let state = Mutex(State())
    private let changed: Descriptor
    private let finished: Descriptor

    /// - Parameter total: what is behind so many bytes is not written; nil: all is.
    public init(to target: Descriptor, limit: Int = 1 << 20, total: Int = .max) throws(SystemError) {
        (self.limit, self.total) = (limit, total)
        changed = try EventDescriptor.open()
        finished = try EventDescriptor.open()
        // The thread keeps this object until it ends; it may not end in time: see `finish`.
        try SystemThread(name: "console") {
            ThreadRole.console.confine()
            self.writeUntilClosed(to: target)
        }.detach()
    }

    public func append(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        state.withLock { state in
            state.waiting += bytes
            let excess = state.waiting.count - limit
            if excess > 0 {
                state.waiting.removeFirst(excess)
                state.dropped += excess
            }
        }
        changed.signalEvent()
    }

    /// Writes the rest, if that takes no longer than `seconds`; a reader that does not read is left behind.
    public func finish(within seconds: Double) {
        state.withLock { $0.closed = true }
        changed.signalEvent()
        finished.waitReadable(seconds: seconds)
    }

    private func writeUntilClosed(to target: Descriptor) {
        var (isOpen, room) = (true, total)
        while isOpen {
            changed.waitReadable()
            changed.takeEvent()
            let (bytes, dropped, closed) = state.withLock { state in
                defer { (state.waiting, state.dropped) = ([], 0) }
                return (state.waiting, state.dropped, state.closed)
            }
            isOpen = !closed
            let note = dropped == 0 ? "" : "\r\npenumbra: \(dropped) bytes of output had no reader\r\n"
            // A target that is gone takes nothing; the guest goes on.
            let text = (Array(note.utf8) + bytes).prefix(room)
            try? target.write(Array(text))
            room -= text.count
        }
        finished.signalEvent()
    }
}
