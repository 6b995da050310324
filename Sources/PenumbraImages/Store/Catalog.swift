// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What the store says of an image.
struct CatalogEntry: Equatable {
    /// Of the configuration.
    let id: Digest
    let manifest: Digest
    let layers: [Digest]
    /// The key of its file system.
    let root: Digest
    /// What it takes in the store, in bytes; images with layers in common each count them.
    let size: UInt64
    /// In full, in the order in which they were given.
    var references: [String]

    var blobs: [Digest] { [id, manifest] + layers }
}

/// The list of all images: a file that is replaced whole.
struct Catalog: Equatable {
    private static let version: UInt64 = 1

    var images: [CatalogEntry] = []

    static func read(_ layout: StoreLayout) throws -> Catalog {
        guard Files.exists(layout.catalog) else { return Catalog() }
        let bytes = try Files.read(layout.catalog)
        guard let json = try? JSON(parsing: bytes), json["version"]?.number == version,
            let entries = json["images"]?.array
        else { throw damage(layout) }
        return Catalog(
            images: try entries.map {
                guard let entry = CatalogEntry($0) else { throw damage(layout) }
                return entry
            })
    }

    private static func damage(_ layout: StoreLayout) -> ImageError {
        .failed(
            what: "reading \(layout.catalog)",
            reason: "it is damaged, or another version of penumbra wrote it",
            remedy: "use that version, or remove \(layout.path) and get the images anew")
    }

    /// Changes the catalog; the caller has its lock.
    static func update(_ layout: StoreLayout, _ body: (inout Catalog) throws -> Void) throws {
        let old = try read(layout)
        var new = old
        try body(&new)
        guard new != old else { return }
        try ImageError.whileWriting(layout.catalog) { () throws(SystemError) in
            try Files.writeDurably(Array((new.json.indented + "\n").utf8), to: layout.catalog, mode: 0o600)
        }
        layout.step("replaced the catalog")
    }

    private var json: JSON {
        .object([("version", .number(Self.version)), ("images", .array(images.map(\.json)))])
    }

    /// Gives a name to image `id`; another image that had it loses it.
    mutating func name(_ id: Digest, _ reference: ImageReference) {
        let name = reference.description
        for index in images.indices {
            let isIt = images[index].id == id
            if isIt && images[index].references.contains(name) { continue }
            images[index].references.removeAll { $0 == name }
            if isIt { images[index].references.append(name) }
        }
    }
}

extension CatalogEntry {
    fileprivate init?(_ json: JSON) {
        func digest(_ name: String) -> Digest? { json[name]?.string.flatMap { Digest($0) } }
        guard let id = digest("id"), let manifest = digest("manifest"), let root = digest("root"),
            let layers = json["layers"]?.array?.map({ $0.string.flatMap { Digest($0) } }),
            let size = json["size"]?.number,
            let references = json["references"]?.array?.map(\.string)
        else { return nil }
        self.init(
            id: id, manifest: manifest, layers: layers.compactMap(\.self), root: root, size: size,
            references: references.compactMap(\.self))
        guard self.layers.count == layers.count, self.references.count == references.count else { return nil }
    }

    fileprivate var json: JSON {
        .object([
            ("id", .string(id.description)), ("manifest", .string(manifest.description)),
            ("layers", .array(layers.map { .string($0.description) })),
            ("root", .string(root.description)), ("size", .number(size)),
            ("references", .array(references.map { .string($0) })),
        ])
    }
}

extension Catalog {
    mutating func unname(_ id: Digest, _ name: String?) {
        for index in images.indices where images[index].id == id {
            images[index].references.removeAll { $0 == name }
        }
    }
}
