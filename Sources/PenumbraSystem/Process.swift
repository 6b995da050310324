// SPDX-License-Identifier: Apache-2.0
import Glibc

public func environmentVariable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Seconds on a clock that never jumps.
public func monotonicSeconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}
