// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The file system of an image: made once for all images of the same layers.
struct RootFileSystem {
    /// Of what this program makes of layers: images that are added after a change there get other file
    /// systems.
    private static let version = "penumbra squashfs 1"

    let layout: StoreLayout
    /// By which the catalog names it.
    let key: Digest
    let document: ConfigurationDocument
    let manifest: Manifest

    /// For an image that is added, from its layers' unpacked digests.
    static func key(_ layers: [Digest]) -> Digest {
        let lines = [version] + layers.map(\.description)
        return Digest.of(Array(lines.joined(separator: "\n").utf8))
    }

    /// Its file, which is made if it is not there.
    func path(progress: @escaping (String) -> Void) throws -> String {
        let path = layout.root(key)
        if Files.exists(path) { return path }
        // Who comes second waits, and finds it made.
        let name = "\(layout.temporary)/\(key.hexadecimal).lock"
        let lock = try Descriptor(path: name, flags: O_RDWR | O_CREAT, mode: 0o600)
        lock.waitForLock()
        // Who comes later makes a lock of his own: at worst both make the same file.
        defer { Files.remove(name) }
        return try withExtendedLifetime(lock) {
            if !Files.exists(path) { try make(path, progress) }
            return path
        }
    }

    private func make(_ path: String, _ progress: @escaping (String) -> Void) throws {
        let layers = zip(manifest.layers, document.layers).map {
            LayerMerge.Layer(path: layout.blob($0.0.digest), digest: $0.1)
        }
        let file = try layout.newFile()
        let writer = try SquashFSWriter(to: try file.descriptor(), path: file.path)
        var merge = LayerMerge(layers, progress: progress)
        try merge.write(to: writer)
        try layout.keep(file, as: path)
    }

    /// What the image takes in the store, in bytes.
    func size(with blobs: BlobStore) throws -> UInt64 {
        let parts = [manifest.configuration.digest] + Set(manifest.layers.map(\.digest))
        return try parts.reduce(try Files.size(layout.root(key))) { try $0 + blobs.size($1) }
    }
}
