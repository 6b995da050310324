// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraJail
import PenumbraSystem

/// The jail of a guest's process.
public enum GuestJail {
    /// For a guest without shares.
    public static func prepare(in directory: RunDirectory = RunDirectory()) throws -> Jail {
        var none: [VolumeShare] = []
        return try prepare(&none, in: directory)
    }

    /// Enters the jail's namespaces, before anything of the guest's is open; the shares are to be opened
    /// where they are found then.
    public static func prepare(_ shares: inout [VolumeShare], in directory: RunDirectory = RunDirectory())
        throws
        -> Jail
    {
        for share in shares where !Files.isDirectory(share.path) {
            throw VolumeShareError.notUsable(SystemError(call: "open", subject: share.path, code: ENOTDIR))
        }
        let jail = try Jail(
            sharing: shares.map { Jail.Directory($0.path, isReadOnly: $0.isReadOnly) },
            at: directory.jailPlace())
        for (index, place) in jail.directories.enumerated() { shares[index].path = place.path }
        return jail
    }
}
