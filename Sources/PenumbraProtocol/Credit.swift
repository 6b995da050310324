// SPDX-License-Identifier: Apache-2.0

/// One direction of a session's flow control (see AgentMessage), as either side keeps it.
public struct Credit: Equatable, Sendable {
    /// Bytes that may still be sent before the receiver gives more.
    public private(set) var available = AgentMessage.window

    public init() {}

    /// Bytes go on their way; false: more than may.
    public mutating func spend(_ count: Int) -> Bool {
        guard count <= available else { return false }
        available -= count
        return true
    }

    /// The receiver passed bytes on; false: more than were on their way.
    public mutating func give(_ count: Int) -> Bool {
        guard count >= 0, count <= AgentMessage.window - available else { return false }
        available += count
        return true
    }
}
