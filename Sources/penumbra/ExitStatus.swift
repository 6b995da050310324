// SPDX-License-Identifier: Apache-2.0

/// What `penumbra guest` and `penumbra boot` exit with when it is not the guest's own status. Shells and tests may
/// rely on these numbers.
enum ExitStatus {
    /// Neither /dev/penumbra nor a machine (sysexits.h, EX_UNAVAILABLE).
    static let unavailable: Int32 = 69
    static let guestCrashed: Int32 = 70
    static let coreBug: Int32 = 71
    static let killed: Int32 = 72
    /// The host could not go on with the guest: no memory, or an error in it.
    static let hostFailed: Int32 = 73
    static let guestPanicked: Int32 = 74
    static let rebooted: Int32 = 75
    /// As timeout(1).
    static let timedOut: Int32 = 124
    /// This program could not do its part: no such file, no memory, another interface (as env(1)).
    static let failed: Int32 = 125
    /// As shells report a death by signal.
    static func interrupted(by signal: Int32) -> Int32 { 128 + signal }
}
