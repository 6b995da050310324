// SPDX-License-Identifier: Apache-2.0

/// Sizes for people, in powers of ten and three digits, as docker shows them.
public enum ByteCount {
    private static let units = ["B", "kB", "MB", "GB", "TB"]

    /// "0B", "999B", "1.5kB", "118MB".
    public static func text(_ bytes: UInt64) -> String {
        if bytes < 1000 { return "\(bytes)B" }
        var (divisor, unit) = (UInt64(1000), 1)
        while bytes / divisor >= 1000, unit < units.count - 1 { (divisor, unit) = (divisor * 1000, unit + 1) }
        let whole = bytes / divisor
        let thousandths = bytes % divisor / (divisor / 1000)
        let digits = whole >= 100 ? 0 : whole >= 10 ? 1 : 2
        var fraction = String(String(thousandths + 1000).dropFirst().prefix(digits))
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return "\(whole)" + (fraction.isEmpty ? "" : ".\(fraction)") + units[unit]
    }
}
