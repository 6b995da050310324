// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

@testable import PenumbraImages

/// An image in the making, with what can be wrong with it.
struct ImageFixture {
    var layers: [[UInt8]]
    var architecture = "amd64"
    var created = "2026-11-20T10:00:00Z"
    var config =
        #"{"Entrypoint":["/entry"],"Cmd":["run","it"],"Env":["A=b"],"User":"web","WorkingDir":"/srv","StopSignal":"SIGINT","ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},"Labels":{"k":"v"}}"#
    var name: String? = "debian:12"
    /// In the configuration, in place of the layers' own.
    var unpackedDigests: [Digest]?

    /// An image of some small layers; `seed` makes it another one.
    init(seed: String = "") throws {
        layers = [
            try Archive.of([.directory("etc"), .file("etc/name", "one\(seed)"), .file("gone", "x")]),
            try Archive.of([.file(".wh.gone"), .file("etc/more", "two\(seed)", permissions: 0o4755)]),
        ]
    }

    var configuration: [UInt8] {
        let digests = (unpackedDigests ?? layers.map(Digest.of)).map { "\"\($0)\"" }.joined(separator: ",")
        return Array(
            """
            {"architecture":"\(architecture)","os":"linux","created":"\(created)","config":\(config),\
            "rootfs":{"type":"layers","diff_ids":[\(digests)]}}
            """.utf8)
    }

    var id: Digest { Digest.of(configuration) }

    private static func descriptor(_ type: String, _ content: [UInt8]) -> ContentDescriptor {
        ContentDescriptor(mediaType: type, digest: Digest.of(content), size: UInt64(content.count))
    }

    var manifest: [UInt8] {
        let manifest = Manifest(
            configuration: Self.descriptor(MediaType.configuration, configuration),
            layers: layers.map { Self.descriptor(MediaType.layer(.none), $0) })
        return Array(manifest.json.text.utf8)
    }

    /// Of an OCI layout, by name.
    var files: [(name: String, content: [UInt8])] {
        let blobs = (layers + [configuration, manifest]).map {
            ("blobs/sha256/\(Digest.of($0).hexadecimal)", $0)
        }
        let own = Self.descriptor(MediaType.manifest, manifest)
        let named =
            name.map { own.json(annotations: [("org.opencontainers.image.ref.name", $0)]) } ?? own.json
        return blobs + [
            ("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)),
            ("index.json", Array(#"{"schemaVersion":2,"manifests":[\#(named.text)]}"#.utf8)),
        ]
    }

    /// Makes an OCI layout.
    func writeLayout(to directory: String) throws -> String {
        try Files.makeDirectories("\(directory)/blobs/sha256")
        for (name, content) in files { try Files.write(content, to: "\(directory)/\(name)") }
        return directory
    }

    func writeArchive(to path: String) throws -> String { try Self.writeArchive(files, to: path) }

    static func writeArchive(_ files: [(name: String, content: [UInt8])], to path: String) throws -> String {
        let members = files.map { Member(Array($0.name.utf8), .file, $0.content, FileMetadata()) }
        try Files.write(try Archive.of(members), to: path)
        return path
    }
}

/// A store in a directory of its own.
final class TestStore {
    let directory: TemporaryDirectory
    let store: ImageStore

    init(step: @escaping @Sendable (String) -> Void = { _ in }) throws {
        directory = try TemporaryDirectory()
        store = try ImageStore(path: directory.file("images"), step: step)
    }

    @discardableResult func load(_ image: ImageFixture) throws -> Image {
        let path = try image.writeArchive(to: directory.file("archive.tar"))
        return try store.load(from: path)[0]
    }

    /// Files of the store that are no locks.
    var files: [String] { Self.files(store.layout) }

    /// What is left when nobody adds anything. The store may have to try again: a child that another test
    /// has just started holds its locks until it becomes another program.
    static func remains(_ layout: StoreLayout) throws -> [String] {
        for _ in 0..<100 where !files(layout).isEmpty {
            usleep(20_000)
            try layout.removeUnnamed()
        }
        return files(layout)
    }

    static func files(_ layout: StoreLayout) -> [String] {
        [layout.blobs, layout.roots, layout.temporary].flatMap { directory in
            Files.list(directory).map { "\(directory)/\($0)" }
        }
    }
}

func message(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "no error"
}
