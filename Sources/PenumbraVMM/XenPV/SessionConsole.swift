// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraSystem

/// The back end of a guest's second console, hvc1, which carries the lines of a GuestSession.
final class SessionConsole: XenBackend, GuestDevice {
    /// A guest that writes without end is not listened to.
    private static let lineLimit = 128

    let nodes = ConsoleLink.nodes
    private let session: GuestSession
    private let grants: GrantTable
    private let open: (_ port: UInt32) throws -> EventChannel
    /// Signals that the terminal's size changed; nil: it never does.
    private let resized: Descriptor?
    private var link: ConsoleLink?
    /// The guest has not been told the size, or not the present one.
    private var owesSize = false
    private var line: [UInt8] = []
    private var unsent: [UInt8] = []

    init(
        _ session: GuestSession, grants: GrantTable, resized: Descriptor?,
        open: @escaping (_ port: UInt32) throws -> EventChannel
    ) {
        (self.session, self.grants, self.resized, self.open) = (session, grants, resized, open)
    }

    // MARK: Xenbus

    var isConnected: Bool { link != nil }

    func connect(_ store: XenStore) throws { link = try ConsoleLink(store, grants, open: open) }

    func disconnect() -> Bool {
        link = nil
        return true
    }

    // MARK: The lines

    var descriptors: [Descriptor] { [link?.channel.event, resized].compactMap { $0 } }

    func serve(_ ready: Descriptor) throws -> GuestOutcome? {
        if ready === resized {
            while resized?.takeSignal() != nil {}
            if let size = TerminalSize(of: STDIN_FILENO) { try resize(to: size) }
        } else {
            ready.takeEvent()
            try moveOrPart()
        }
        return nil
    }

    func resize(to size: TerminalSize) throws {
        session.resize(to: size)
        owesSize = session.isReady
        try moveOrPart()
    }

    private func moveOrPart() throws {
        do { try move() } catch is SharedRing.BadIndices { link = nil }
    }

    private func move() throws {
        guard let link else { return }
        let bytes = try link.ring.takeOutput()
        for byte in bytes { take(byte) }
        if unsent.isEmpty, owesSize { (unsent, owesSize) = (Array(session.sizeLine.utf8), false) }
        let sent = try link.ring.put(unsent)
        unsent.removeFirst(sent)
        if !bytes.isEmpty || sent > 0 { try link.channel.notifyGuest() }
    }

    private func take(_ byte: UInt8) {
        guard byte == UInt8(ascii: "\n") else {
            if line.count < Self.lineLimit { line.append(byte) }
            return
        }
        if session.take(line: line) { owesSize = true }
        line.removeAll()
    }
}
