// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// How an image's containers are to be run (OCI image specification, "Image Configuration"). No text
/// here holds a zero byte.
public struct ImageConfiguration: Sendable, Equatable {
    public struct Label: Sendable, Equatable {
        public let name: String
        public let value: String
    }

    public var entrypoint: [String] = []
    public var command: [String] = []
    /// NAME=VALUE.
    public var environment: [String] = []
    public var workingDirectory = ""
    /// "user", "uid", "user:group" ...; empty: root.
    public var user = ""
    /// "80/tcp".
    public var exposedPorts: [String] = []
    /// Paths.
    public var volumes: [String] = []
    /// A name or a number; nil: SIGTERM.
    public var stopSignal: String?
    public var labels: [Label] = []

    public init() {}
}

/// The whole document.
struct ConfigurationDocument {
    let json: JSON
    let architecture: String
    let operatingSystem: String
    /// RFC 3339.
    let created: String?
    /// Digests of the unpacked layers, the lowest first.
    let layers: [Digest]
    let configuration: ImageConfiguration

    init(_ bytes: [UInt8]) throws {
        do { json = try JSON(parsing: bytes) } catch {
            throw ImageError.damaged("an image's configuration", "\(error)")
        }
        guard let layers = json["rootfs"]?["diff_ids"]?.array else {
            throw ImageError.damaged("an image's configuration", "it names no layers")
        }
        self.layers = try layers.map { layer throws(ImageError) in
            guard let digest = layer.string.flatMap({ Digest($0) }) else {
                throw ImageError.damaged("an image's configuration", "a layer's digest is none")
            }
            return digest
        }
        architecture = json["architecture"]?.string ?? "unknown"
        operatingSystem = json["os"]?.string ?? "linux"
        created = json["created"]?.string
        configuration = try ImageConfiguration(json["config"] ?? .object([]))
    }

    /// Of this host's architecture, or it throws.
    func requireThisArchitecture(_ what: String) throws(ImageError) {
        guard architecture == ImageError.architecture, operatingSystem == "linux" else {
            throw .otherArchitecture(
                image: what, found: printable("\(operatingSystem)/\(architecture)".utf8))
        }
    }
}

extension ImageConfiguration {
    fileprivate init(_ json: JSON) throws(ImageError) {
        entrypoint = try Self.strings(json, "Entrypoint")
        command = try Self.strings(json, "Cmd")
        environment = try Self.strings(json, "Env")
        workingDirectory = try Self.string(json, "WorkingDir") ?? ""
        user = try Self.string(json, "User") ?? ""
        exposedPorts = try Self.names(json, "ExposedPorts")
        volumes = try Self.names(json, "Volumes")
        stopSignal = try Self.string(json, "StopSignal").flatMap { $0.isEmpty ? nil : $0 }
        labels = try Self.labels(json)
    }

    private static func problem(_ name: String) -> ImageError {
        .damaged("an image's configuration", "its \(name) is not what it should be")
    }

    private static func text(_ value: JSON, _ name: String) throws(ImageError) -> String {
        guard let text = value.string, !text.utf8.contains(0) else { throw problem(name) }
        return text
    }

    private static func string(_ json: JSON, _ name: String) throws(ImageError) -> String? {
        guard let value = json[name] else { return nil }
        return try text(value, name)
    }

    private static func strings(_ json: JSON, _ name: String) throws(ImageError) -> [String] {
        guard let value = json[name] else { return [] }
        guard let values = value.array else { throw problem(name) }
        return try values.map { value throws(ImageError) in try text(value, name) }
    }

    /// Of a set, which JSON writes as an object of empty objects.
    private static func names(_ json: JSON, _ name: String) throws(ImageError) -> [String] {
        guard let value = json[name] else { return [] }
        guard let members = value.members else { throw problem(name) }
        return try members.map { member throws(ImageError) in try text(.string(member.name), name) }.sorted()
    }

    private static func labels(_ json: JSON) throws(ImageError) -> [Label] {
        guard let value = json["Labels"] else { return [] }
        guard let members = value.members else { throw problem("Labels") }
        return try members.map { member throws(ImageError) in
            Label(name: member.name, value: try text(member.value, "Labels"))
        }.sorted { $0.name < $1.name }
    }
}
