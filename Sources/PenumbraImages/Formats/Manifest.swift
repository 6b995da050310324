// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// OCI image specification, and docker's image manifest version 2, schema 2, which says the same.
enum MediaType {
    static let manifest = "application/vnd.oci.image.manifest.v1+json"
    static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    static let index = "application/vnd.oci.image.index.v1+json"
    static let dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
    static let configuration = "application/vnd.oci.image.config.v1+json"
    static let dockerConfiguration = "application/vnd.docker.container.image.v1+json"
    static func layer(_ compression: Compression) -> String {
        let archive = "application/vnd.oci.image.layer.v1.tar"
        return compression == .none ? archive : "\(archive)+\(compression.rawValue)"
    }

    /// Of manifests, indices and configurations, in bytes; registries take no larger ones.
    static let maximumDocument: UInt64 = 4 << 20
    /// Layers of an image; file systems of their own, docker's overlays allow 128.
    static let maximumLayers = 1024
}

/// A reference to content (OCI image specification, "Content Descriptors").
struct ContentDescriptor {
    let mediaType: String
    let digest: Digest
    let size: UInt64
    let annotations: [String: String]
    /// "linux/arm64", if it says so.
    let platform: String?

    init(_ json: JSON) throws(ImageError) {
        guard let text = json["digest"]?.string, let size = json["size"]?.number else {
            throw .damaged("a manifest", "a descriptor lacks its digest or its size")
        }
        guard let digest = Digest(text) else {
            throw .unsupported(
                "the digest '\(printable(text.utf8))'", "get an image whose digests are sha256")
        }
        mediaType = json["mediaType"]?.string ?? ""
        (self.digest, self.size) = (digest, size)
        annotations = (json["annotations"]?.members ?? []).reduce(into: [:]) { $0[$1.name] = $1.value.string }
        platform = json["platform"].map { platform in
            [platform["os"]?.string ?? "linux", platform["architecture"]?.string ?? "unknown"].joined(
                separator: "/")
        }
    }

    init(mediaType: String, digest: Digest, size: UInt64) {
        (self.mediaType, self.digest, self.size) = (mediaType, digest, size)
        annotations = [:]
        platform = nil
    }

    var json: JSON {
        .object([
            ("mediaType", .string(mediaType)), ("digest", .string(digest.description)),
            ("size", .number(size)),
        ])
    }

    /// As `json`, with annotations.
    func json(annotations: [(String, String)]) -> JSON {
        let members = annotations.map { ($0.0, JSON.string($0.1)) }
        return .object((json.members ?? []).map { ($0.name, $0.value) } + [("annotations", .object(members))])
    }
}

/// What an image consists of.
struct Manifest {
    let configuration: ContentDescriptor
    let layers: [ContentDescriptor]

    init(_ json: JSON) throws(ImageError) {
        guard let configuration = json["config"], let layers = json["layers"]?.array else {
            throw .damaged("a manifest", "it names no configuration and layers")
        }
        guard layers.count <= MediaType.maximumLayers else {
            throw .tooLarge(what: "the image's number of layers", limit: "\(MediaType.maximumLayers)")
        }
        self.configuration = try ContentDescriptor(configuration)
        let type = self.configuration.mediaType
        guard type == MediaType.configuration || type == MediaType.dockerConfiguration else {
            throw .unsupported(
                "content of type '\(printable(type.utf8))'", "it is no container image: give the name of one")
        }
        self.layers = try layers.map { layer throws(ImageError) in try ContentDescriptor(layer) }
        if let layer = self.layers.first(where: { $0.mediaType.contains("encrypted") }) {
            throw .unsupported("the encrypted layer \(layer.digest.short)", "decrypt the image first")
        }
    }

    init(configuration: ContentDescriptor, layers: [ContentDescriptor]) {
        (self.configuration, self.layers) = (configuration, layers)
    }

    var json: JSON {
        .object([
            ("schemaVersion", .number(2)), ("mediaType", .string(MediaType.manifest)),
            ("config", configuration.json), ("layers", .array(layers.map(\.json))),
        ])
    }

    static func isIndex(_ json: JSON) -> Bool { json["manifests"]?.array != nil }
}
