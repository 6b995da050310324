// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// This process's standard streams, as terminals.
enum Terminals {
    /// Input and output are one, and we are in its foreground.
    static var areOurs: Bool {
        isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0 && !RawTerminal.isOthers(STDIN_FILENO)
    }

    /// Some terminals have no size.
    static var size: TerminalSize? {
        guard areOurs else { return nil }
        return TerminalSize(of: STDIN_FILENO) ?? TerminalSize(rows: 24, columns: 80)
    }
}
