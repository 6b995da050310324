// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// Where images, containers, kernels and volumes are kept: PENUMBRA_DATA_DIR; else for root
/// /var/lib/penumbra, for others $XDG_DATA_HOME/penumbra or ~/.local/share/penumbra.
public struct DataDirectory: Sendable {
    public let path: String

    public init(path: String? = nil) throws(ContainerError) {
        func directory(_ variable: String) -> String? {
            environmentVariable(variable).flatMap { $0.isEmpty ? nil : $0 }
        }
        let found =
            path ?? directory("PENUMBRA_DATA_DIR") ?? (geteuid() == 0 ? "/var/lib/penumbra" : nil)
            ?? directory("XDG_DATA_HOME").map { $0 + "/penumbra" }
            ?? directory("HOME").map { $0 + "/.local/share/penumbra" }
        guard let found else { throw .noDataDirectory }
        self.path = found
    }

    public var images: String { path + "/images" }
    public var containers: String { path + "/containers" }
    public var kernels: String { path + "/kernels" }
    public var volumes: String { path + "/volumes" }
}
