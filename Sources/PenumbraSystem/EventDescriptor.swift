// SPDX-License-Identifier: Apache-2.0
import CLinux

/// A signal between threads, or from the kernel, that a poll can wait for (eventfd(2)).
public enum EventDescriptor {
    public static func open() throws(SystemError) -> Descriptor {
        Descriptor(adopting: Int32(try retrying("eventfd", "") { Int(linux_eventfd()) }))
    }
}

extension Descriptor {
    /// Signals an EventDescriptor. Can only fail if it is signalled beyond counting, and then it is.
    public func signalEvent() { _ = try? write(some: [1, 0, 0, 0, 0, 0, 0, 0]) }

    /// Clears an EventDescriptor; says whether it was signalled.
    @discardableResult
    public func takeEvent() -> Bool { ((try? read(atMost: 8)) ?? nil) != nil }
}
