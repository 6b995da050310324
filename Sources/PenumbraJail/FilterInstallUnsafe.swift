// SPDX-License-Identifier: Apache-2.0
import CJail
import PenumbraSystem

extension FilterProgram {
    /// Puts the filter before every later system call of this thread and of those that it makes.
    func install() throws(SystemError) {
        try retrying("seccomp", "with a filter") {
            // The array outlives the call, and the kernel copies it.
            Int(
                instructions.withUnsafeBufferPointer {
                    jail_install_filter($0.baseAddress, UInt16($0.count))
                })
        }
    }
}
