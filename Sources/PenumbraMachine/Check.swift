// SPDX-License-Identifier: Apache-2.0

/// One thing that `penumbra doctor` looked at.
public struct Check: Equatable, Sendable {
    public enum Status: String, Sendable {
        case ok, warning, failed
    }

    public let name: String
    public let status: Status
    public let finding: String
    /// What to do; nil where there is nothing to do.
    public let remedy: String?

    public static func ok(_ name: String, _ finding: String) -> Check {
        Check(name: name, status: .ok, finding: finding, remedy: nil)
    }

    public static func warning(_ name: String, _ finding: String, _ remedy: String) -> Check {
        Check(name: name, status: .warning, finding: finding, remedy: remedy)
    }

    public static func failed(_ name: String, _ finding: String, _ remedy: String) -> Check {
        Check(name: name, status: .failed, finding: finding, remedy: remedy)
    }
}
