// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import PenumbraSystem

@Suite struct ListeningSocketTests {
    /// What accept(2) says while it may not take the connection.
    private final class Scarcity { var code: Int32? }

    @Test(arguments: [EMFILE, ENFILE, ENOMEM]) func aConnectionThatCannotBeTakenIsNotAskedForInARow(
        _ code: Int32
    ) throws {
        let (socket, peer) = try LocalSocket.pair()
        try peer.write([1])
        let scarcity = Scarcity()
        scarcity.code = code
        // Ready like a listening socket with a connection in its queue.
        let listener = try ListeningSocket(socket) { socket in
            if let code = scarcity.code {
                return .failure(SystemError(call: "accept", subject: "", code: code))
            }
            return .success(socket)
        }
        var attempts = 0
        let end = monotonicSeconds() + 0.5
        while monotonicSeconds() < end, listener.event.waitReadable(seconds: 0.5) {
            attempts += 1
            #expect(listener.accept() == nil)
        }
        #expect((2...6).contains(attempts), "\(attempts)")
        scarcity.code = nil
        #expect(listener.event.waitReadable(seconds: 1))
        #expect(listener.accept() === socket)
        #expect(listener.event === socket)
    }

    @Test func nobodyIsNoScarcity() throws {
        let (socket, _) = try LocalSocket.pair()
        let listener = try ListeningSocket(socket) { _ in
            .failure(SystemError(call: "accept", subject: "", code: EAGAIN))
        }
        #expect(listener.accept() == nil)
        #expect(listener.event === socket)
    }
}
