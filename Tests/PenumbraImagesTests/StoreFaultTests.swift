// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraImages

/// Kills, full disks, and several processes at once.
@Suite struct StoreFaultTests {
    /// Copies of a store as it was at each step of what was done to it: what a kill there leaves.
    private final class Snapshots: Sendable {
        let directory: TemporaryDirectory
        private let names = Mutex<[String]>([])

        init() throws { directory = try TemporaryDirectory() }

        var paths: [String] { names.withLock { $0 } }

        func take(_ store: String) {
            let path = names.withLock { names in
                names.append(directory.file("\(names.count)"))
                return names[names.count - 1]
            }
            _ = try? ChildProcess.output("cp", ["-a", store, path])
        }
    }

    /// Every image that the store names is whole.
    private func requireWhole(_ store: ImageStore) throws -> [Image] {
        let images = try store.list()
        for image in images {
            #expect(try SquashFSListing(try store.rootFileSystem(of: image)).paths.count == 3)
            let entry = try #require(try Catalog.read(store.layout).images.first { $0.id == image.id })
            for blob in entry.blobs { _ = try BlobStore(layout: store.layout).read(blob, "a blob") }
        }
        return images
    }

    /// After a kill at any step the store holds the whole image or none of it; the next process goes on,
    /// and clears up.
    private func requireSound(_ snapshots: Snapshots, _ fixture: ImageFixture) throws -> (
        with: Int, without: Int
    ) {
        var counts = (with: 0, without: 0)
        for path in snapshots.paths {
            let store = try ImageStore(path: path)
            let images = try requireWhole(store)
            #expect(images.isEmpty || images.map(\.id) == [fixture.id])
            if images.isEmpty { counts.without += 1 } else { counts.with += 1 }
            let archive = try fixture.writeArchive(to: snapshots.directory.file("again.tar"))
            #expect(try store.load(from: archive).map(\.id) == [fixture.id])
            _ = try requireWhole(store)
            #expect(Files.list(store.layout.temporary) == [])
            _ = try store.remove(fixture.id.description, force: true) { _ in [] }
            #expect(try TestStore.remains(store.layout) == [])
        }
        return counts
    }

    @Test func aKillWhileLoadingLeavesAllOrNothing() throws {
        let snapshots = try Snapshots()
        let directory = try TemporaryDirectory()
        let store = directory.file("images")
        let fixture = try ImageFixture()
        let archive = try fixture.writeArchive(to: directory.file("a.tar"))
        _ = try ImageStore(path: store) { _ in snapshots.take(store) }.load(from: archive)
        let counts = try requireSound(snapshots, fixture)
        #expect(counts.with >= 1 && counts.without >= 20)
    }

    @Test func aKillWhileRemovingLeavesAllOrNothing() throws {
        let snapshots = try Snapshots()
        let test = try TestStore()
        let fixture = try ImageFixture()
        try test.load(fixture)
        snapshots.take(test.store.layout.path)
        let path = test.store.layout.path
        _ = try ImageStore(path: path) { _ in snapshots.take(path) }.remove("debian:12") { _ in [] }
        let counts = try requireSound(snapshots, fixture)
        #expect(counts.with == 1 && counts.without >= 5)
    }

    /// As processes do, for locks belong to open files: everybody loads, names and removes the same images.
    @Test func manyAtOnceDoNotDisturbEachOther() throws {
        let test = try TestStore()
        let archives = try (0..<2).map {
            try ImageFixture(seed: "\($0)").writeArchive(to: test.directory.file("\($0).tar"))
        }
        let path = test.store.layout.path
        let problems = Mutex<[String]>([])
        let threads = try (0..<4).map { number in
            try SystemThread(name: "store") {
                for round in 0..<15 {
                    do {
                        try Self.use(archives[(number + round) % 2], in: path, thenRemoves: round % 3 == 0)
                    } catch { problems.withLock { $0.append("\(error)") } }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(problems.withLock { $0 } == [])
        _ = try requireWhole(test.store)
        _ = try test.store.prune(all: true) { _ in [] }
        #expect(try TestStore.remains(test.store.layout) == [])
    }

    private static func use(_ archive: String, in path: String, thenRemoves: Bool) throws {
        let store = try ImageStore(path: path)
        let id = try store.load(from: archive)[0].id.description
        // Somebody else may have removed it meanwhile, whole.
        do {
            try store.retaining(id) { image in
                _ = try SquashFSListing(try store.rootFileSystem(of: image))
            }
            if thenRemoves { _ = try store.remove(id, force: true) { _ in [] } }
        } catch ImageError.unknownImage {}
    }

    @Test(.enabled(if: geteuid() == 0), arguments: [100, 300, 450]) func aFullDiskIsTold(_ kilobytes: Int)
        throws
    {
        let directory = try TemporaryDirectory()
        let disk = directory.file("disk")
        try Files.makeDirectories(disk)
        _ = try ChildProcess.output("mount", ["-t", "tmpfs", "-o", "size=\(kilobytes)k", "tmpfs", disk])
        defer { _ = try? ChildProcess.output("umount", [disk]) }
        var generator = SystemRandomNumberGenerator()
        var fixture = try ImageFixture()
        let noise = String(
            (0..<250_000).map { _ in Character(Unicode.Scalar(UInt8.random(in: 33...126, using: &generator)))
            })
        fixture.layers[0] = try Archive.of([.file("noise", noise), .file("gone")])
        let store = try ImageStore(path: "\(disk)/images")
        let archive = try fixture.writeArchive(to: directory.file("a.tar"))
        #expect(message { _ = try store.load(from: archive) }.contains("no space is left for"))
        #expect(try store.list().isEmpty)
        #expect(try TestStore.remains(store.layout) == [])
        _ = try ChildProcess.output("mount", ["-o", "remount,size=4m", disk])
        #expect(try store.load(from: archive).count == 1)
        _ = try requireWhole(store)
    }
}
