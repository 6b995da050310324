// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/// Error code of a page fault (Intel SDM vol. 3, 4.7, figure 4-12). Not an OptionSet: that
/// protocol brings arrays along, and the core has no allocator.
public struct PageFaultError: Equatable {
    public let rawValue: UInt32

    @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

    @inline(__always) public func contains(_ other: PageFaultError) -> Bool {
        rawValue & other.rawValue == other.rawValue
    }
    @inline(__always) public func union(_ other: PageFaultError) -> PageFaultError {
        PageFaultError(rawValue: rawValue | other.rawValue)
    }

    /// Nothing set: a read of an entry that is not present.
    @inline(__always) public static var none: PageFaultError { PageFaultError(rawValue: 0) }
    /// Caused by rights; clear: by an entry that is not present.
    @inline(__always) public static var present: PageFaultError { PageFaultError(rawValue: 1 << 0) }
    @inline(__always) public static var write: PageFaultError { PageFaultError(rawValue: 1 << 1) }
    @inline(__always) public static var user: PageFaultError { PageFaultError(rawValue: 1 << 2) }
    /// A reserved bit was set in an entry.
    @inline(__always) public static var reserved: PageFaultError { PageFaultError(rawValue: 1 << 3) }
    @inline(__always) public static var fetch: PageFaultError { PageFaultError(rawValue: 1 << 4) }
}

/// The two deprivileged modes. Both run at CPL 3; only the core can tell them apart.
public enum GuestMode: UInt8 {
    case user = 0
    case kernel = 1
}
