// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraVMM

/// TAG=PATH or TAG=PATH:ro.
struct ShareOption: ExpressibleByArgument {
    private static let readOnly = ":ro"

    let text: String
    let share: VolumeShare

    init?(argument: String) {
        guard let sign = argument.firstIndex(of: "=") else { return nil }
        let tag = String(argument[..<sign])
        let rest = argument[argument.index(after: sign)...]
        let isReadOnly = rest.hasSuffix(Self.readOnly)
        let path = String(isReadOnly ? rest.dropLast(Self.readOnly.count) : rest)
        guard VolumeShare.isTag(tag), !path.isEmpty else { return nil }
        (text, share) = (argument, VolumeShare(tag: tag, path: path, isReadOnly: isReadOnly))
    }
}
