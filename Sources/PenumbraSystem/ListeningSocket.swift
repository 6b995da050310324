// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// A listening socket in a loop that waits for others too. A connection that cannot be taken, because
/// this process or the host has no descriptor or memory left, stays in the socket's queue and keeps the
/// socket ready; so for a moment a timer is waited for in the socket's place.
public final class ListeningSocket {
    /// In milliseconds.
    private static let rest: Int32 = 100

    private let socket: Descriptor
    /// Made beforehand: there may be no descriptor for it when it is needed.
    private let timer: Descriptor
    private let take: (Descriptor) -> Result<Descriptor, SystemError>
    private var isResting = false

    public convenience init(_ socket: Descriptor) throws(SystemError) {
        try self.init(socket) { $0.acceptConnection() }
    }

    init(
        _ socket: Descriptor, take: @escaping (Descriptor) -> Result<Descriptor, SystemError>
    ) throws(SystemError) {
        (self.socket, self.take) = (socket, take)
        timer = Descriptor(adopting: Int32(try retrying("timerfd", "") { Int(linux_timerfd()) }))
    }

    /// What the loop waits for: the socket, or the rest's end.
    public var event: Descriptor { isResting ? timer : socket }

    /// The next connection, if there is one to be had. For when `event` is ready.
    public func accept() -> Descriptor? {
        if isResting { timer.takeEvent() }
        isResting = false
        switch take(socket) {
        case .success(let connection): return connection
        case .failure(let error):
            if [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.code) { beginRest() }
            return nil
        }
    }

    /// A timer that cannot be set costs the rest, not the connection.
    private func beginRest() { isResting = linux_timerfd_set(timer.number, Self.rest) == 0 }
}
