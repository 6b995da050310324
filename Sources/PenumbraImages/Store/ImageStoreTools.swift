// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What other programs have a part in.
extension ImageStore {
    /// Gets an image from its registry; one that the store has is brought up to date.
    public func pull(
        _ reference: ImageReference, from registry: Registry = Registry(),
        progress: @escaping (String) -> Void = { _ in }
    ) throws -> Image {
        let entry = try layout.whileAdding {
            try layout.withTemporaryDirectory { directory in
                let copy = "\(directory)/image"
                try registry.download(reference, to: copy)
                let importer = ImageImporter(
                    layout: layout, contents: DirectoryContents(place: copy), progress: progress)
                return try importer.add(
                    manifest: "manifest.json", blob: { $0.hexadecimal }, named: reference)
            }
        }
        return try resolve(entry.id.description)
    }

    /// Makes an image of Debian's packages and names it.
    public func build(
        _ recipe: DebianImage, named name: ImageReference, progress: @escaping (String) -> Void = { _ in },
        complaint: ([UInt8]) -> Void = { _ in }
    ) throws -> Image {
        let entry = try layout.whileAdding {
            try layout.withTemporaryDirectory { directory in
                let layer = "layer.tar.zst"
                try recipe.writeLayer(to: "\(directory)/\(layer)", complaint: complaint)
                let contents = DirectoryContents(place: directory)
                let document = recipe.configuration(
                    layer: try contents.unpackedDigest(layer), created: Timestamp.now)
                try Files.write(Array(document.text.utf8), to: "\(directory)/config.json")
                let importer = ImageImporter(layout: layout, contents: contents, progress: progress)
                return try importer.addDockerImage("config.json", [layer], [name])
            }
        }
        return try resolve(entry.id.description)
    }

    /// Writes images as an archive that `load`, docker and skopeo read.
    public func save(
        _ names: [String], readyRoots: ReadyRoots = .ignored, to output: Descriptor
    ) throws {
        try layout.whileAdding {
            let blobs = BlobStore(layout: layout)
            let members = try names.map { name in
                let image = try resolve(name)
                // By name only that name is saved; by id all that the image has.
                let named =
                    (try? ImageReference(name)).map { image.references.contains($0) ? [$0] : nil } ?? nil
                return ImageArchive.Member(
                    manifest: try blobs.read(image.manifest, "a manifest"),
                    references: named ?? image.references, blob: layout.blob,
                    root: readyRoots == .included
                        ? try makeRootFileSystem(of: image, progress: { _ in }) : nil)
            }
            try ImageArchive(to: output).write(members)
        }
    }
}
