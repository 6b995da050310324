// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// How long ago something was, roughly, in docker's words.
enum Age {
    private static let units: [(name: String, seconds: Int64, from: Int64)] = [
        ("year", 31_536_000, 63_072_000), ("month", 2_592_000, 5_184_000), ("week", 604_800, 1_209_600),
        ("day", 86_400, 172_800), ("hour", 3600, 5400), ("minute", 60, 60),
    ]

    /// "2 weeks ago".
    static func text(from past: Timestamp, to now: Timestamp) -> String {
        let seconds = max(0, now.seconds - past.seconds)
        for unit in units where seconds >= unit.from {
            let count = seconds / unit.seconds
            switch (unit.name, count) {
            case ("minute", 1): return "About a minute ago"
            case ("hour", 1): return "About an hour ago"
            default: return "\(count) \(unit.name)s ago"
            }
        }
        return seconds == 1
            ? "1 second ago" : seconds == 0 ? "Less than a second ago" : "\(seconds) seconds ago"
    }
}
