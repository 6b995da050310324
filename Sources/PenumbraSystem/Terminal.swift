// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// A terminal in raw mode: every key reaches us, also those that would signal.
public final class RawTerminal {
    /// What is raw.
    public enum Scope: Sendable {
        /// Output is processed as before, so that lines of whatever origin begin at the left.
        case input
        /// What we write has been processed at another terminal.
        case everything
    }

    /// Our own: the caller may close his before the terminal is given back.
    private let terminal: Descriptor
    private let saved: termios

    /// nil if `descriptor` is no terminal, or one whose foreground belongs to others.
    public init?(_ descriptor: Int32, _ scope: Scope = .input) {
        var settings = termios()
        guard tcgetattr(descriptor, &settings) == 0, !Self.isOthers(descriptor) else { return nil }
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return nil }
        terminal = Descriptor(adopting: copy)
        saved = settings
        cfmakeraw(&settings)
        if scope == .input { settings.c_oflag = saved.c_oflag }
        guard tcsetattr(copy, TCSADRAIN, &settings) == 0 else { return nil }
    }

    /// Whether this is a terminal whose foreground belongs to others: who reads it is stopped.
    public static func isOthers(_ descriptor: Int32) -> Bool {
        isatty(descriptor) != 0 && tcgetpgrp(descriptor) != getpgrp()
    }

    /// Gives the terminal back as it was.
    deinit {
        var settings = saved
        tcsetattr(terminal.number, TCSADRAIN, &settings)
    }

    /// Runs `body` with standard input raw, if that is a terminal.
    public static func during<Result>(_ body: (_ isTerminal: Bool) throws -> Result) rethrows -> Result {
        let terminal = RawTerminal(STDIN_FILENO)
        return try withExtendedLifetime(terminal) { try body(terminal != nil) }
    }
}
