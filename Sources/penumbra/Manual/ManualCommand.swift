// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraSystem

/// Writes the manual: a page for each verb, of what `--help` says.
struct ManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate-manual", abstract: "Write the manual pages of this program.",
        shouldDisplay: false)

    @Argument(help: "The directory to write to, such as /usr/local/share/man/man1.", completion: .directory)
    var directory: String

    func run() throws {
        try Files.makeDirectories(directory)
        for page in try ManualPage.all() {
            try Files.write(Array(page.text.utf8), to: "\(directory)/\(page.name).1")
        }
    }
}
