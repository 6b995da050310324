// SPDX-License-Identifier: Apache-2.0
import Glibc

extension Files {
    /// rename(2) of a file whose content is durable already; so is its new name, then.
    public static func renameDurably(_ old: String, to new: String) throws(SystemError) {
        try retrying("rename", new) { Int(rename(old, new)) }
        try syncDirectory(of: new)
    }
}

extension Descriptor {
    /// fsync(2).
    public func sync() throws(SystemError) {
        try retrying("fsync", "descriptor \(number)") { Int(fsync(number)) }
    }
}
