// SPDX-License-Identifier: Apache-2.0
import CLinux

/// Turns signals into bytes to read (signalfd(2)).
public enum SignalDescriptor {
    /// Blocks these signals in this thread and opens a descriptor that gives them.
    public static func open(_ signals: [Int32]) throws(SystemError) -> Descriptor {
        let number = try retrying("signalfd", "") { Int(linux_signalfd(signals, signals.count)) }
        return Descriptor(adopting: Int32(number))
    }
}

extension Descriptor {
    /// The next signal of a SignalDescriptor, if there is one.
    public func takeSignal() -> Int32? {
        // signalfd(2): 128 bytes for each signal, its number first, in the host's byte order.
        guard let record = try? read(atMost: 128), record.count == 128 else { return nil }
        return record.prefix(4).reversed().reduce(0) { $0 << 8 | Int32($1) }
    }
}
