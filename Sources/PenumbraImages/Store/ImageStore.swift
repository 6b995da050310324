// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Images on this host. Any number of processes may use the same store at once; StoreLayout says how.
public struct ImageStore: Sendable {
    /// Where images come from or go to: a path, or "-" for this process's standard input or output.
    public typealias Place = String

    let layout: StoreLayout

    /// The store in a directory, which is made if it is not there.
    public init(path: String) throws { try self.init(path: path, step: { _ in }) }

    init(path: String, step: @escaping @Sendable (String) -> Void) throws {
        layout = StoreLayout(path: path, step: step)
        try layout.makeDirectories()
    }

    // MARK: Finding

    public func list() throws -> [Image] { try Catalog.read(layout).images.map(image) }

    /// By name, by id ("sha256:..." or its digits), or by the beginning of an id that no other begins with.
    public func resolve(_ text: String) throws -> Image { try image(try entry(text)) }

    /// Begins to use an image: `body` runs while nobody can remove it, and leaves, before it returns, what
    /// `remove`'s and `prune`'s `inUse` find. It should be short.
    public func retaining<Result>(_ text: String, _ body: (Image) throws -> Result) throws -> Result {
        try layout.withCatalogLocked { try body(try resolve(text)) }
    }

    private func entry(_ text: String) throws -> CatalogEntry {
        let images = try Catalog.read(layout).images
        let reference = try? ImageReference(text)
        if let reference, let image = images.first(where: { $0.references.contains(reference.description) }) {
            return image
        }
        if let reference, let image = Self.image(of: reference, in: images) { return image }
        return try Self.image(withIDPrefix: text, in: images)
    }

    /// A name with the digest of a manifest that is here, though it was got by tag.
    private static func image(of reference: ImageReference, in images: [CatalogEntry]) -> CatalogEntry? {
        guard let digest = reference.digest else { return nil }
        return images.first { image in
            image.manifest == digest
                && image.references.contains {
                    let known = try? ImageReference($0)
                    return known?.registry == reference.registry && known?.repository == reference.repository
                }
        }
    }

    private static func image(withIDPrefix text: String, in images: [CatalogEntry]) throws -> CatalogEntry {
        let digits = text.hasPrefix("sha256:") ? text.dropFirst(7) : text[...]
        let found = images.filter { !digits.isEmpty && $0.id.hexadecimal.hasPrefix(digits) }
        guard found.count <= 1 else { throw ImageError.ambiguous(prefix: text, count: found.count) }
        guard let image = found.first else { throw ImageError.unknownImage(text) }
        return image
    }

    private func image(_ entry: CatalogEntry) throws -> Image {
        let document = try document(entry)
        return Image(
            id: entry.id, references: entry.references.compactMap { try? ImageReference($0) },
            configuration: document.configuration, architecture: document.architecture,
            operatingSystem: document.operatingSystem, created: document.created, size: entry.size,
            manifest: entry.manifest, layers: document.layers)
    }

    private func document(_ entry: CatalogEntry) throws -> ConfigurationDocument {
        let what = entry.references.first ?? "image \(entry.id.short)"
        return try ConfigurationDocument(try BlobStore(layout: layout).read(entry.id, what))
    }

    /// The image's configuration as it came, with what the store adds.
    public func inspect(_ text: String) throws -> JSON {
        let entry = try entry(text)
        let image = try image(entry)
        let own: [(String, JSON)] = [
            ("Id", .string(entry.id.description)),
            ("RepoTags", .array(image.references.filter { $0.tag != nil }.map { .string($0.familiar) })),
            (
                "RepoDigests",
                .array(
                    Set(image.references.map(\.familiarName)).sorted().map {
                        .string("\($0)@\(entry.manifest)")
                    })
            ),
            ("Created", .string(image.created ?? "")), ("Architecture", .string(image.architecture)),
            ("Os", .string(image.operatingSystem)), ("Size", .number(image.size)),
        ]
        let document = try document(entry).json
        return .object(
            own + [
                ("Config", document["config"] ?? .object([])),
                (
                    "RootFS",
                    .object([
                        ("Type", .string("layers")),
                        ("Layers", .array(image.layers.map { .string($0.description) })),
                    ])
                ),
            ])
    }

    /// The squashfs of an image, which is made if it is absent.
    public func rootFileSystem(
        of image: Image, progress: @escaping (String) -> Void = { _ in }
    ) throws -> String {
        let path = layout.root(try entry(image.id.description).root)
        if Files.exists(path) { return path }
        return try layout.whileAdding { try makeRootFileSystem(of: image, progress: progress).path }
    }

    /// Its key and its file; the caller is adding.
    func makeRootFileSystem(
        of image: Image, progress: @escaping (String) -> Void
    ) throws -> (key: Digest, path: String) {
        let entry = try entry(image.id.description)
        let bytes = try BlobStore(layout: layout).read(entry.manifest, "a manifest")
        guard let json = try? JSON(parsing: bytes) else {
            throw ImageError.damaged("a manifest", "it is no JSON")
        }
        let root = RootFileSystem(
            layout: layout, key: entry.root, document: try document(entry), manifest: try Manifest(json))
        return (root.key, try root.path(progress: progress))
    }

    // MARK: Adding

    /// Adds the images of an OCI layout (a directory or an archive) or of an archive that docker made;
    /// archives may be packed with gzip or zstd. `name` is for contents that give none.
    public func load(
        from place: Place, named name: ImageReference? = nil, readyRoots: ReadyRoots = .ignored,
        progress: @escaping (String) -> Void = { _ in }
    ) throws -> [Image] {
        try layout.whileAdding {
            let contents = try contents(place)
            let entries = try ImageImporter(
                layout: layout, contents: contents, readyRoots: readyRoots, progress: progress
            ).addAll(named: name)
            return try entries.map(image)
        }
    }

    /// File systems that an archive holds beside the layers, made by another store. To take one is to
    /// believe that it was made of these layers: it is for stores of one user, such as the machine's and
    /// that of the host outside, where making it costs a tenth.
    public enum ReadyRoots: Sendable {
        case ignored, included
    }

    private func contents(_ place: Place) throws -> ImageContents {
        if place == "-" {
            return try ArchiveContents(
                DescriptorSource(Descriptor(adopting: 0)), place: "standard input", layout)
        }
        if Files.isDirectory(place) { return DirectoryContents(place: place) }
        return try ArchiveContents(try DescriptorSource(path: place), place: place, layout)
    }

    /// Gives an image one more name. An image that had the name loses it.
    public func tag(_ text: String, as name: ImageReference) throws {
        guard name.digest == nil else {
            throw ImageError.badReference(name.description, reason: "a tag cannot be a digest")
        }
        try layout.withCatalogLocked {
            let id = try entry(text).id
            try Catalog.update(layout) { $0.name(id, name) }
        }
    }

    // MARK: Removing

    /// What a removal took away.
    public struct Removal: Equatable, Sendable {
        public var untagged: [ImageReference] = []
        public var deleted: [Image.ID] = []
    }

    /// Takes a name from an image; with its last name, or by its id, the image goes. `inUse` names the
    /// containers of an image: one that has any stays.
    public func remove(
        _ text: String, force: Bool = false, inUse: (Image.ID) throws -> [String]
    ) throws -> Removal {
        var removal = Removal()
        try layout.withCatalogLocked {
            let entry = try entry(text)
            let name = (try? ImageReference(text))?.description
            let isName = name.map(entry.references.contains) ?? false
            if isName && entry.references.count > 1 {
                removal.untagged = entry.references.filter { $0 == name }.compactMap {
                    try? ImageReference($0)
                }
                try Catalog.update(layout) { $0.unname(entry.id, name) }
                return
            }
            guard isName || force || entry.references.count <= 1 else {
                throw ImageError.severalReferences(
                    id: entry.id.short, references: entry.references.map(Self.familiar))
            }
            try Self.requireUnused(entry, text, inUse)
            removal = try delete([entry])
        }
        try layout.removeUnnamed()
        return removal
    }

    private static func familiar(_ name: String) -> String {
        (try? ImageReference(name))?.familiar ?? name
    }

    private static func requireUnused(
        _ entry: CatalogEntry, _ text: String, _ inUse: (Image.ID) throws -> [String]
    ) throws {
        let containers = try inUse(entry.id)
        if !containers.isEmpty { throw ImageError.inUse(image: text, by: containers) }
    }

    private func delete(_ entries: [CatalogEntry]) throws -> Removal {
        try Catalog.update(layout) { catalog in
            catalog.images.removeAll { image in entries.contains { $0.id == image.id } }
        }
        return Removal(
            untagged: entries.flatMap(\.references).compactMap { try? ImageReference($0) },
            deleted: entries.map(\.id))
    }

    /// Removes images that no container uses: those without a name, or all.
    public func prune(
        all: Bool = false, inUse: (Image.ID) throws -> [String]
    ) throws -> (removal: Removal, freed: UInt64) {
        let before = layout.occupied()
        var removal = Removal()
        try layout.withCatalogLocked {
            let unused = try Catalog.read(layout).images.filter {
                try (all || $0.references.isEmpty) && inUse($0.id).isEmpty
            }
            removal = try delete(unused)
        }
        try layout.removeUnnamed()
        let after = layout.occupied()
        return (removal, before > after ? before - after : 0)
    }

    /// What the store takes on its disk, in bytes.
    public var occupied: UInt64 { layout.occupied() }
}
