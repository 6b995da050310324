// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraContainers

/// What takes room, and how it is got back beside containers that live on.
@Suite struct SpaceTests {
    private let directory: TemporaryDirectory
    private let store: ContainerStore
    private let volumes: VolumeStore
    private let later = Timestamp(seconds: Timestamp.now.seconds + 3600)

    init() throws {
        directory = try TemporaryDirectory()
        store = try ContainerStore(path: directory.path + "/containers")
        volumes = try VolumeStore(path: directory.path + "/volumes")
    }

    private func exited(_ name: String) throws -> ContainerID {
        let id = try store.createSample(name)
        try store.files(id).write(
            .exited(ContainerExit(started: .now, finished: .now, code: 0)))
        return id
    }

    @Test func whatDoesNotRunGoes() throws {
        let (done, created) = (try exited("done"), try store.createSample("created"))
        let running = try store.createSample("running")
        let lock = try #require(try store.lock(running))
        try store.files(running).write(
            ContainerState.running(since: .now, process: getpid(), boot: HostBoot.identifier))
        // It has ended, and its monitor is about to say so.
        let ending = try exited("ending")
        let farewell = try #require(try store.lock(ending))
        let result = try store.prune(now: later)
        #expect(Set(result.removed) == [done, created] && result.freed > 0)
        #expect(Set(store.list().map(\.name)) == ["running", "ending"])
        withExtendedLifetime((lock, farewell)) {}
    }

    @Test func whatIsAboutToStartStays() throws {
        let id = try store.createSample("fresh")
        #expect(try store.prune().removed == [])
        #expect(try store.prune(now: later).removed == [id])
    }

    @Test func ofTwoWhoPruneEachContainerGoesOnce() throws {
        let ids = try (0..<20).map { try exited("c\($0)") }
        let removed = Mutex<[ContainerID]>([])
        let threads = try (0..<4).map { _ in
            try SystemThread(name: "prune") { [store] in
                do {
                    let mine = try store.prune().removed
                    removed.withLock { $0 += mine }
                } catch { Issue.record("\(error)") }
            }
        }
        for thread in threads { thread.join() }
        let all = removed.withLock { $0 }
        #expect(all.count == ids.count && Set(all) == Set(ids))
    }

    @Test func volumesOfContainersStay() throws {
        let (used, unused) = (try VolumeName("used"), try VolumeName("unused"))
        for name in [used, unused] {
            try volumes.create(name)
            try Files.write([UInt8](repeating: 1, count: 50_000), to: volumes.directory(of: name) + "/file")
        }
        var configuration = try ContainerConfiguration.sample("web")
        configuration.volumeMounts = [.init(.volume(used), target: "/data")]
        try store.create(configuration) { _ in }
        #expect(volumes.occupied(used) >= 50_000)
        let result = try volumes.prune(in: store)
        #expect(result.removed == [unused] && result.freed >= 50_000)
        #expect(volumes.list() == [used] && Files.list(volumes.path) == ["used"])
        #expect(throws: ContainerError.volumeInUse("used", by: ["web"])) {
            try volumes.remove(used, unlessUsedIn: store)
        }
        #expect(throws: ContainerError.unknownVolume("unused")) {
            try volumes.remove(unused, unlessUsedIn: store)
        }
    }

    /// A kill between a volume's renaming and its end.
    @Test func whatAKillLeavesOfAVolumeGoesWithTheNext() throws {
        let name = try VolumeName("data")
        try volumes.create(name)
        try Files.makeDirectories(volumes.path + "/.removed-1/deep")
        #expect(volumes.list() == [name])
        try volumes.remove(name, unlessUsedIn: store)
        #expect(Files.list(volumes.path) == [])
    }
}
