// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

@testable import PenumbraContainers

extension ContainerConfiguration {
    /// A container as a test wants it, but for what it changes.
    static func sample(_ name: String, command: [String] = ["true"]) throws -> ContainerConfiguration {
        ContainerConfiguration(
            id: .random(), name: try ContainerName(name), created: .now, image: "debian:bookworm",
            imageID: "sha256:0123", entrypoint: [], command: command, memory: 256 << 20, kernel: "0123")
    }
}

extension ContainerStore {
    func createSample(_ name: String) throws -> ContainerID {
        let configuration = try ContainerConfiguration.sample(name)
        try create(configuration) { try Files.write([0], to: $0) }
        return configuration.id
    }
}
