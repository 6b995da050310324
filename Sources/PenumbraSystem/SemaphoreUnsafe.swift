// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A number that threads add to, and wait to take from (sem_overview(7)).
public final class Semaphore: @unchecked Sendable {
    /// Initialised once, at an address that holds until the last reference is gone: POSIX lets threads share it.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    public init(_ value: UInt32) { sem_init(semaphore, 0, value) }

    deinit {
        // Whoever waits has a reference.
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    /// Takes one, and waits until there is one; one thread per `signal` goes on.
    public func wait() { while sem_wait(semaphore) != 0 && errno == EINTR {} }

    public func signal() { sem_post(semaphore) }
}
