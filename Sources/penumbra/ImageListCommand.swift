// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraImages
import PenumbraSystem

struct ImageListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List images.", aliases: ["list"])

    @Flag(name: [.short, .long], help: "Print ids only.")
    var quiet = false

    @Flag(help: "Do not cut ids short.")
    var noTrunc = false

    @OptionGroup var place: MachineOption

    @OptionGroup var format: ListFormatOption

    func run() throws { try ContainerPlace.perform(at: place, here: list) }

    private func list() throws {
        let images = try Images.store().list()
        let rows = Self.rows(images, now: Timestamp.now, isWhole: noTrunc)
        if quiet {
            var seen: Set<String> = []
            try format.write(rows.map(\.id).filter { seen.insert($0).inserted })
        } else {
            try format.write(rows.map(\.json), table: Self.table(rows))
        }
    }

    struct Row {
        let repository: String
        let tag: String
        let digest: String
        let id: String
        let created: String
        let age: String
        let size: String

        var json: JSON {
            .object([
                ("Repository", .string(repository)), ("Tag", .string(tag)), ("Digest", .string(digest)),
                ("ID", .string(id)), ("CreatedAt", .string(created)), ("CreatedSince", .string(age)),
                ("Size", .string(size)),
            ])
        }
    }

    /// A row for each name, the newest image first; one without a name has a row too.
    static func rows(_ images: [Image], now: Timestamp, isWhole: Bool) -> [Row] {
        func time(_ image: Image) -> Timestamp {
            image.created.flatMap { Timestamp($0) } ?? Timestamp(seconds: 0)
        }
        return images.sorted { time($0) > time($1) }.flatMap { image in
            let references: [ImageReference?] = image.references.isEmpty ? [nil] : image.references
            return references.map { reference in
                Row(
                    repository: reference?.familiarName ?? "<none>", tag: reference?.tag ?? "<none>",
                    digest: image.manifest.description,
                    id: isWhole ? image.id.description : image.id.short, created: image.created ?? "",
                    age: image.created.flatMap { Timestamp($0) }.map { Age.text(from: $0, to: now) }
                        ?? "unknown",
                    size: ByteCount.text(image.size))
            }
        }
    }

    static func table(_ rows: [Row]) -> String {
        Table.text(
            [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]]
                + rows.map { [$0.repository, $0.tag, $0.id, $0.age, $0.size] })
    }
}
