// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Writes images as an archive that is both an OCI layout and, by its manifest.json, one that docker
/// loads: blobs stand once, under their digests.
struct ImageArchive {
    /// An image and where its blobs are.
    struct Member {
        let manifest: [UInt8]
        let references: [ImageReference]
        let blob: (Digest) -> String
        /// The key and the file of its file system, if that is to go with it.
        var root: (key: Digest, path: String)?
    }

    private let writer: TarWriter

    init(to output: Descriptor) { writer = TarWriter(to: output) }

    func write(_ members: [Member]) throws {
        var written: Set<Digest> = []
        var descriptors: [JSON] = []
        var dockerImages: [JSON] = []
        for member in members {
            guard let json = try? JSON(parsing: member.manifest) else {
                throw ImageError.damaged("a manifest", "it is no JSON")
            }
            let manifest = try Manifest(json)
            for content in [manifest.configuration] + manifest.layers
            where written.insert(content.digest).inserted {
                try copy(member.blob(content.digest), as: Self.path(content.digest)) { found in
                    // What the disk has forgotten must not be passed on.
                    guard found == content.digest else {
                        throw ImageError.digestMismatch(of: "a blob", expected: content.digest, found: found)
                    }
                }
            }
            if let root = member.root, written.insert(root.key).inserted {
                try copy(root.path, as: Self.rootFile(root.key)) { _ in }
            }
            let own = ContentDescriptor(
                mediaType: json["mediaType"]?.string ?? MediaType.manifest,
                digest: Digest.of(member.manifest), size: UInt64(member.manifest.count))
            if written.insert(own.digest).inserted { try writer.add(Self.path(own.digest), member.manifest) }
            descriptors += Self.descriptors(own, member.references)
            dockerImages.append(Self.dockerImage(manifest, member.references))
        }
        try writer.add("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
        try writer.add("index.json", Array(Self.index(descriptors).text.utf8))
        try writer.add("manifest.json", Array(JSON.array(dockerImages).text.utf8))
        try writer.finish()
    }

    private static func path(_ digest: Digest) -> String { "blobs/sha256/\(digest.hexadecimal)" }

    private static func index(_ descriptors: [JSON]) -> JSON {
        .object([
            ("schemaVersion", .number(2)), ("mediaType", .string(MediaType.index)),
            ("manifests", .array(descriptors)),
        ])
    }

    /// One for each name, annotated as containerd and docker do.
    private static func descriptors(_ own: ContentDescriptor, _ references: [ImageReference]) -> [JSON] {
        let names = references.filter { $0.tag != nil }
        if names.isEmpty { return [own.json] }
        return names.map { name in
            own.json(annotations: [
                ("io.containerd.image.name", name.description),
                ("org.opencontainers.image.ref.name", name.tag ?? ""),
            ])
        }
    }

    private static func dockerImage(_ manifest: Manifest, _ references: [ImageReference]) -> JSON {
        .object([
            ("Config", .string(path(manifest.configuration.digest))),
            ("RepoTags", .array(references.filter { $0.tag != nil }.map { .string($0.familiar) })),
            ("Layers", .array(manifest.layers.map { .string(path($0.digest)) })),
        ])
    }

    /// Of a file system made elsewhere.
    static func rootFile(_ key: Digest) -> String { "roots/\(key.hexadecimal).squashfs" }

    private func copy(_ path: String, as name: String, check: (Digest) throws -> Void) throws {
        let entry = TarEntry(
            path: Array(name.utf8), kind: .file, metadata: FileMetadata(permissions: 0o644),
            size: try Files.size(path))
        try writer.begin(entry)
        let stream = HashingSource(try DescriptorSource(path: path))
        while stream.count < entry.size {
            let bytes = try stream.read(atMost: StreamSize.chunk)
            guard !bytes.isEmpty else {
                throw ImageError.damaged(path, "it became shorter while it was read")
            }
            try writer.write(bytes)
        }
        try check(stream.digest)
        try writer.endContent(of: entry)
    }
}
