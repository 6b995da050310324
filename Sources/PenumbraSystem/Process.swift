// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

public func environmentVariable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Seconds on a clock that never jumps.
public func monotonicSeconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// This process's last `count` arguments as they were given; a String would have repaired what is no
/// UTF-8.
public func lastArguments(_ count: Int) -> [[UInt8]] {
    // proc(5): each ends with a zero byte.
    let bytes = ((try? Files.read("/proc/self/cmdline")) ?? []).dropLast()
    let words = bytes.split(separator: 0, omittingEmptySubsequences: false).map(Array.init)
    return Array(words.suffix(count))
}

/// A process by a descriptor (pidfd_open(2)): no later process of the same number is meant, and it reads
/// as ready when the process has ended.
public enum ProcessDescriptor {
    /// nil: there is no such process.
    public static func open(_ process: pid_t) -> Descriptor? {
        let number = linux_pidfd_open(process)
        return number < 0 ? nil : Descriptor(adopting: number)
    }
}

extension Descriptor {
    /// To a ProcessDescriptor's process, if it has not ended.
    public func sendSignal(_ signal: Int32) { _ = linux_pidfd_send_signal(number, signal) }
}
