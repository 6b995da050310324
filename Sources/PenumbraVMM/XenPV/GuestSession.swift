// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Synchronization

/// What the VMM and the first program of the guest root (guest-root/init) tell each other, a line
/// each, over the guest's second console:
///
///     guest    ready               it reads both consoles, and nothing changes the bytes on their way
///     VMM      size ROWS COLUMNS   of the terminal, as an answer and whenever it changes; 0 0: none
///     guest    status NUMBER       the command ended; NUMBER is what a shell calls its status
public final class GuestSession: Sendable {
    private struct State {
        var size: TerminalSize?
        var isReady = false
        var status: UInt8?
    }

    private let state: Mutex<State>

    /// `terminal` is the size of the terminal that the guest's console is shown on, if it is one.
    public init(terminal: TerminalSize?) { state = Mutex(State(size: terminal)) }

    /// How the command ended; nil if the guest did not say.
    public var status: UInt8? { state.withLock { $0.status } }

    /// The guest reads its consoles, and nothing changes the bytes on their way.
    var isReady: Bool { state.withLock { $0.isReady } }

    public func resize(to size: TerminalSize) { state.withLock { $0.size = size } }

    var sizeLine: String {
        let size = state.withLock { $0.size } ?? TerminalSize(rows: 0, columns: 0)
        return "size \(size.rows) \(size.columns)\n"
    }

    /// Takes a line of the guest's; says whether it wants an answer. Others' lines mean nothing.
    func take(line: some Collection<UInt8>) -> Bool {
        let words = String(decoding: line, as: UTF8.self).split(separator: " ")
        switch (words.first, words.count) {
        case ("ready", 1):
            state.withLock { $0.isReady = true }
            return true
        case ("status", 2):
            if let status = UInt8(words[1]) { state.withLock { $0.status = status } }
            return false
        default: return false
        }
    }
}
