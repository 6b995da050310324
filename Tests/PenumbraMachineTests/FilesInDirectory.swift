// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Trees that tests make.
extension TemporaryDirectory {
    func write(_ text: String, to file: String) throws { try write(Array(text.utf8), to: file) }

    func write(_ bytes: [UInt8], to file: String) throws {
        let whole = "\(path)/\(file)"
        try Files.makeDirectories(String(whole[..<whole.lastIndex(of: "/")!]))
        try Files.write(bytes, to: whole)
    }
}
