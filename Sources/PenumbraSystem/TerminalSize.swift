// SPDX-License-Identifier: Apache-2.0
import CLinux

/// Rows and columns of a terminal.
public struct TerminalSize: Equatable, Sendable {
    public var rows: UInt16
    public var columns: UInt16

    public init(rows: UInt16, columns: UInt16) { (self.rows, self.columns) = (rows, columns) }

    /// nil if `descriptor` is no terminal, or one of no size.
    public init?(of descriptor: Int32) {
        var (rows, columns) = (UInt16(0), UInt16(0))
        guard linux_window_size(descriptor, &rows, &columns) == 0, rows > 0, columns > 0 else { return nil }
        self.init(rows: rows, columns: columns)
    }

    /// "24x80".
    public init?(_ text: some StringProtocol) {
        let numbers = text.split(separator: "x", omittingEmptySubsequences: false).map { UInt16($0) }
        guard numbers.count == 2, let rows = numbers[0], let columns = numbers[1] else { return nil }
        self.init(rows: rows, columns: columns)
    }

    public var text: String { "\(rows)x\(columns)" }
}
