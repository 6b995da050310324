// SPDX-License-Identifier: Apache-2.0
import PenumbraMachine
import PenumbraSystem

/// The process's own streams.
enum Output {
    static let standard = Descriptor(adopting: 1)
    static let error = Descriptor(adopting: 2)

    /// A line, or some, of results.
    static func print(_ text: String) throws { try standard.write(Array("\(text)\n".utf8)) }

    /// A line of progress or complaint: to standard error, so that standard output carries results only.
    static func note(_ text: String) { try? error.write(Array("penumbra: \(text)\n".utf8)) }
}
