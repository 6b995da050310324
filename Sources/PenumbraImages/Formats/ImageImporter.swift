// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Adds the images that some contents hold to the store: their blobs, checked; their file system; and
/// last their place in the catalog.
struct ImageImporter {
    /// OCI image specification, "Image Layout".
    private static let layoutFile = "oci-layout"
    private static let indexFile = "index.json"
    /// docker's archives; skopeo's directories have an image's own manifest there.
    private static let manifestFile = "manifest.json"
    private static let containerdName = "io.containerd.image.name"
    private static let referenceName = "org.opencontainers.image.ref.name"
    /// Indices in indices; specifications need one level.
    private static let maximumNesting = 4

    let layout: StoreLayout
    let contents: ImageContents
    var readyRoots = ImageStore.ReadyRoots.ignored
    let progress: (String) -> Void

    private var blobs: BlobStore { BlobStore(layout: layout) }

    /// Adds every image for this architecture. `name` takes the place of names that the contents give.
    func addAll(named name: ImageReference?) throws -> [CatalogEntry] {
        let isLayout = contents.has(Self.indexFile) && contents.has(Self.layoutFile)
        guard isLayout || contents.has(Self.manifestFile) else {
            throw ImageError.noImage(
                in: contents.place, reason: "it has neither \(Self.indexFile) nor \(Self.manifestFile)")
        }
        let entries = isLayout ? try addLayout(named: name) : try addDockerArchive(named: name)
        guard !entries.isEmpty else {
            throw ImageError.noImage(in: contents.place, reason: "its list of images is empty")
        }
        return entries
    }

    /// Adds the one image whose manifest is a file of its own.
    func add(manifest file: String, blob: @escaping (Digest) -> String, named name: ImageReference?) throws
        -> CatalogEntry
    {
        let bytes = try contents.document(file)
        return try add(try Manifest(try Self.parse(bytes)), bytes, names: name.map { [$0] } ?? [], file: blob)
    }

    // MARK: OCI layouts

    private func addLayout(named name: ImageReference?) throws -> [CatalogEntry] {
        let index = try contents.json(Self.indexFile)
        let images = try (index["manifests"]?.array ?? []).map { try ContentDescriptor($0) }
        // One name may stand at the manifests of several architectures.
        var groups: [(names: [ImageReference], images: [ContentDescriptor])] = []
        for image in images {
            let names = try name.map { [$0] } ?? Self.names(image)
            if let group = groups.firstIndex(where: { $0.names == names && !names.isEmpty }) {
                groups[group].images.append(image)
            } else {
                groups.append((names, [image]))
            }
        }
        return try groups.map { names, images in
            let descriptor = try choose(images, level: 0)
            try addBlob(descriptor.digest)
            let bytes = try blobs.read(descriptor.digest, "a manifest")
            return try add(
                try Manifest(try Self.parse(bytes)), bytes, names: names, file: Self.blobFile)
        }
    }

    private static func blobFile(_ digest: Digest) -> String { "blobs/sha256/\(digest.hexadecimal)" }

    private static func parse(_ bytes: [UInt8]) throws -> JSON {
        do { return try JSON(parsing: bytes) } catch { throw ImageError.damaged("a manifest", "\(error)") }
    }

    /// A name in full; a tag alone names nothing.
    private static func names(_ image: ContentDescriptor) throws -> [ImageReference] {
        if let name = image.annotations[containerdName] { return [try ImageReference(name)] }
        guard let name = image.annotations[referenceName], name.contains("/") || name.contains(":") else {
            return []
        }
        return [try ImageReference(name)]
    }

    /// The manifest for this architecture, also from an index among them.
    private func choose(_ images: [ContentDescriptor], level: Int) throws -> ContentDescriptor {
        guard level < Self.maximumNesting else {
            throw ImageError.damaged(contents.place, "its indices are nested too deep")
        }
        let own = "linux/\(ImageError.architecture)"
        let sound = images.filter { $0.platform == nil || $0.platform == own }
        guard let image = sound.first(where: { $0.platform == own }) ?? sound.first else {
            let others = images.compactMap(\.platform).map { printable($0.utf8) }.joined(separator: ", ")
            throw ImageError.otherArchitecture(image: contents.place, found: others)
        }
        let document = try contents.json(Self.blobFile(image.digest))
        guard Manifest.isIndex(document) else { return image }
        try requireDigest(image.digest)
        return try choose(
            try (document["manifests"]?.array ?? []).map { try ContentDescriptor($0) }, level: level + 1)
    }

    /// An index is used and not kept.
    private func requireDigest(_ digest: Digest) throws {
        let found = try contents.digest(Self.blobFile(digest))
        guard found == digest else {
            throw ImageError.digestMismatch(
                of: "an index of \(contents.place)", expected: digest, found: found)
        }
    }

    private func addBlob(_ digest: Digest, file: (Digest) -> String = blobFile) throws {
        if blobs.contains(digest) { return }
        try contents.add(digest, file(digest), to: blobs)
    }

    // MARK: docker's archives

    private func addDockerArchive(named name: ImageReference?) throws -> [CatalogEntry] {
        let list = try contents.json(Self.manifestFile)
        guard let images = list.array else {
            throw ImageError.noImage(in: contents.place, reason: "\(Self.manifestFile) is no list of images")
        }
        return try images.map { image in
            guard let configuration = image["Config"]?.string,
                let layers = image["Layers"]?.array?.map({ $0.string ?? "" })
            else {
                throw ImageError.damaged(contents.place, "\(Self.manifestFile) names no Config and Layers")
            }
            let tags = (image["RepoTags"]?.array ?? []).compactMap(\.string)
            let names =
                try name.map { [$0] } ?? tags.map { tag throws(ImageError) in try ImageReference(tag) }
            return try addDockerImage(configuration, layers, names)
        }
    }

    /// Such an image has no manifest in OCI's sense: it gets one.
    func addDockerImage(
        _ configuration: String, _ layers: [String], _ names: [ImageReference]
    ) throws -> CatalogEntry {
        guard layers.count <= MediaType.maximumLayers else {
            throw ImageError.tooLarge(
                what: "the image's number of layers", limit: "\(MediaType.maximumLayers)")
        }
        let document = try ConfigurationDocument(try contents.document(configuration))
        try document.requireThisArchitecture(contents.place)
        let own = try contents.digest(configuration)
        try contents.add(own, configuration, to: blobs)
        let descriptors = try layers.map { layer in
            let digest = try contents.digest(layer)
            let magic = try BufferedSource(try contents.source(layer)).peek(Compression.magicLength)
            progress("layer \(digest.short)")
            try contents.add(digest, layer, to: blobs)
            return ContentDescriptor(
                mediaType: MediaType.layer(try Compression(magic: magic)), digest: digest,
                size: try blobs.size(digest))
        }
        let manifest = Manifest(
            configuration: ContentDescriptor(
                mediaType: MediaType.configuration, digest: own, size: try blobs.size(own)),
            layers: descriptors)
        return try add(manifest, Array(manifest.json.text.utf8), names: names) { $0.hexadecimal }
    }

    // MARK: What is the same for all

    private func add(
        _ manifest: Manifest, _ bytes: [UInt8], names: [ImageReference], file: (Digest) -> String
    ) throws -> CatalogEntry {
        let what = names.first?.familiar ?? contents.place
        try addBlob(manifest.configuration.digest, file: file)
        let id = manifest.configuration.digest
        let document = try ConfigurationDocument(try readConfiguration(id))
        try document.requireThisArchitecture(what)
        guard document.layers.count == manifest.layers.count else {
            throw ImageError.damaged(
                what,
                "its configuration has \(document.layers.count) layers, its manifest \(manifest.layers.count)"
            )
        }
        for (number, layer) in manifest.layers.enumerated() {
            let isThere = blobs.contains(layer.digest)
            progress(
                "layer \(number + 1) of \(manifest.layers.count): \(layer.digest.short), "
                    + (isThere ? "already there" : ByteCount.text(layer.size)))
            try addBlob(layer.digest, file: file)
        }
        let root = RootFileSystem(
            layout: layout, key: RootFileSystem.key(document.layers), document: document, manifest: manifest)
        try make(root)
        let entry = CatalogEntry(
            id: id, manifest: try blobs.add(bytes), layers: manifest.layers.map(\.digest), root: root.key,
            size: try root.size(with: blobs), references: [])
        return try enter(entry, names)
    }

    private func make(_ root: RootFileSystem) throws {
        let path = layout.root(root.key)
        let name = ImageArchive.rootFile(root.key)
        if readyRoots == .included, contents.has(name), !Files.exists(path) {
            try contents.keep(name, as: path, in: layout)
        }
        _ = try root.path(progress: progress)
    }

    private func readConfiguration(_ digest: Digest) throws -> [UInt8] {
        guard try blobs.size(digest) <= MediaType.maximumDocument else {
            throw ImageError.tooLarge(
                what: "an image's configuration", limit: "\(MediaType.maximumDocument >> 20) MiB")
        }
        return try blobs.read(digest, "an image's configuration")
    }

    /// The same image from elsewhere, packed differently, takes the place of the one that is there.
    private func enter(_ entry: CatalogEntry, _ names: [ImageReference]) throws -> CatalogEntry {
        try layout.withCatalogLocked {
            try Catalog.update(layout) { catalog in
                if let index = catalog.images.firstIndex(where: { $0.id == entry.id }) {
                    var entry = entry
                    entry.references = catalog.images[index].references
                    catalog.images[index] = entry
                } else {
                    catalog.images.append(entry)
                }
                for name in names { catalog.name(entry.id, name) }
            }
            return try Catalog.read(layout).images.first { $0.id == entry.id } ?? entry
        }
    }
}
