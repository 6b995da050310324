// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Why a request of a guest's came to nothing: the number of a Linux error, which the guest is told.
struct NinePFailure: Error, Equatable {
    let code: Int32

    init(_ code: Int32) { self.code = code }

    /// A message that is not what its kind should be.
    static let malformed = Self(EINVAL)
}

/// Runs a system call again while a signal interrupts it; negative results throw.
@discardableResult
func attempt(_ call: () -> Int) throws(NinePFailure) -> Int {
    while true {
        let result = call()
        if result >= 0 { return result }
        if errno != EINTR { throw NinePFailure(errno) }
    }
}
