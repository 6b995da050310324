// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// "65536", "64k", "1M", "2g", as mount(8) takes it.
struct ByteSize {
    let bytes: UInt64

    /// - Parameter option: what an error names.
    init(_ text: Substring, of option: String) throws {
        let shifts: [String: UInt64] = ["k": 10, "m": 20, "g": 30]
        let shift = text.last.flatMap { shifts[$0.lowercased()] }
        guard let number = UInt64(shift == nil ? text : text.dropLast()), number > 0, number < 1 << 30 else {
            throw ValidationError("\(option): '\(text)' is no size, such as 64k or 1g")
        }
        bytes = number << (shift ?? 0)
    }
}
