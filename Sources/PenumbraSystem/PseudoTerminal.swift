// SPDX-License-Identifier: Apache-2.0
import CLinux

/// A terminal whose other end is a program of ours (pty(7)).
public struct PseudoTerminal: Sendable {
    /// Our end: what is written here is typed there. Reads fail with EIO when nobody has the terminal
    /// open any more.
    public let master: Descriptor
    /// What a program opens.
    public let path: String

    public init(size: TerminalSize) throws(SystemError) {
        var name = [CChar](repeating: 0, count: 64)
        let number = try retrying("opening", "a terminal") { Int(linux_open_terminal(&name, name.count)) }
        master = Descriptor(adopting: Int32(number))
        path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        resize(to: size)
    }

    /// Its foreground processes get a SIGWINCH.
    public func resize(to size: TerminalSize) {
        _ = linux_set_window_size(master.number, size.rows, size.columns)
    }
}
