// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What the console tells about why a machine is gone.
public struct ConsoleLog: Sendable {
    private let lines: [Substring]

    public init(text: String) {
        lines = text.split(whereSeparator: \.isNewline)
    }

    public init(file: String) {
        // A killed machine can leave half a character at the end.
        self.init(text: Files.text(file) ?? "")
    }

    /// The kernel's own last words, else init's complaint.
    public var failure: String? {
        for (marker, label) in [
            ("Kernel panic - not syncing: ", "kernel panic: "), ("penumbra-init: failed: ", ""),
        ] {
            for line in lines {
                if let rest = Self.rest(of: line, after: marker) { return label + rest }
            }
        }
        return nil
    }

    /// Complaints of the kernel that no sound machine prints: warnings, stalls, lockups, oopses.
    public var complaints: [String] {
        let markers = [
            "WARNING: ", "BUG: ", "Oops: ", "Kernel panic", "INFO: rcu", "rcu: INFO", "soft lockup",
            "hard LOCKUP", "blocked for more than", "general protection fault", "unchecked MSR access",
            "clocksource: Marking", "Call Trace",
        ]
        return lines.filter { line in markers.contains { Self.rest(of: line, after: $0) != nil } }.map(
            String.init)
    }

    public var lastLine: String? { lines.last.map(String.init) }

    private static func rest(of line: Substring, after marker: String) -> String? {
        let bytes = Array(line.utf8)
        let wanted = Array(marker.utf8)
        guard bytes.count >= wanted.count else { return nil }
        for start in 0...(bytes.count - wanted.count) where bytes[start...].starts(with: wanted) {
            return String(decoding: bytes[(start + wanted.count)...], as: UTF8.self)
        }
        return nil
    }
}
