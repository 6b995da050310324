// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CPenumbra
import PenumbraMachine

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the versions of this program and of what it speaks.")

    /// Semantic versioning; raised with each release.
    static let version = "0.1.0"

    @OptionGroup var format: FormatOption

    func run() throws {
        try format.print([
            ("version", .string(Self.version)),
            ("interface", .number(UInt64(PENUMBRA_INTERFACE_VERSION))),
            ("machine-protocol", .number(UInt64(Message.version))),
        ])
    }
}
