// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraContainers

@Suite struct ContainerStoreTests {
    private let directory: TemporaryDirectory
    private let store: ContainerStore

    init() throws {
        directory = try TemporaryDirectory()
        store = try ContainerStore(path: directory.path + "/containers")
    }

    @Test func aContainerIsFoundByNameByIdAndByItsBeginning() throws {
        let id = try store.createSample("web")
        _ = try store.createSample("other")
        for reference in ["web", id.text, id.short] { #expect(try store.find(reference).id == id) }
        #expect(try store.find("web").state == .created)
        #expect(throws: ContainerError.unknown("we")) { try store.find("we") }
        #expect(throws: ContainerError.unknown("")) { try store.find("") }
    }

    @Test func whatWasCreatedIsReadBack() throws {
        var configuration = try ContainerConfiguration.sample("full", command: ["sh", "-c", "echo \"ä\"\n"])
        configuration.entrypoint = ["/entry"]
        configuration.environment = ["A=1", "B="]
        configuration.user = "www-data:33"
        configuration.limits = [.init(name: "nofile", soft: 1024, hard: .max)]
        configuration.memoryMounts = [.init(target: "/run", limit: 1 << 20, permissions: 0o755)]
        configuration.volumeMounts = [
            .init(.directory("/srv/data"), target: "/data", isReadOnly: true),
            .init(.volume(try VolumeName("data")), target: "/more"),
        ]
        configuration.network = .user
        configuration.publishedPorts = ["8080:80"]
        configuration.labels = ["a": "1", "b": ""]
        configuration.hasTerminal = true
        configuration.isRemovedAtEnd = true
        try store.create(configuration) { _ in }
        #expect(try store.find("full").configuration == configuration)
    }

    @Test func theLatestComesFirst() throws {
        for name in ["aa", "bb", "cc"] { _ = try store.createSample(name) }
        #expect(store.list().map(\.name) == ["cc", "bb", "aa"])
    }

    @Test func aNameIsOneContainers() throws {
        let id = try store.createSample("web")
        #expect(throws: ContainerError.nameInUse("web", by: id)) { try store.createSample("web") }
        try store.remove(id)
        _ = try store.createSample("web")
    }

    @Test func ofManyWhoTakeANameOneGetsIt() throws {
        let store = store
        let taken = Mutex(0)
        let threads = try (0..<8).map { _ in
            try SystemThread(name: "maker") {
                for _ in 0..<20 where (try? store.createSample("web")) != nil { taken.withLock { $0 += 1 } }
            }
        }
        for thread in threads { thread.join() }
        #expect(taken.withLock { $0 } == 1 && store.list().count == 1)
    }

    @Test func ofTwoWhoRemoveOneDoes() throws {
        let store = store
        for round in 0..<20 {
            let id = try store.createSample("web\(round)")
            let removed = Mutex(0)
            let threads = try (0..<2).map { _ in
                try SystemThread(name: "remover") {
                    do {
                        try store.remove(id)
                        removed.withLock { $0 += 1 }
                    } catch ContainerError.unknown {} catch ContainerError.running {} catch {
                        Issue.record("\(error)")
                    }
                }
            }
            for thread in threads { thread.join() }
            #expect(removed.withLock { $0 } == 1)
        }
        #expect(Files.list(store.path) == ["lock"])
    }

    @Test func aRunningContainerIsNotRemoved() throws {
        let id = try store.createSample("web")
        try store.files(id).write(.running(since: .now, process: 1, boot: HostBoot.identifier))
        let lock = try #require(try store.lock(id))
        #expect(throws: ContainerError.running("web")) { try store.remove(id) }
        withExtendedLifetime(lock) {}
    }

    /// How a monitor is found whose clients do not read its farewell.
    private func withLockHeld(
        of id: ContainerID, for microseconds: UInt32, _ body: () throws -> Void
    ) throws {
        let lock = try #require(try store.lock(id))
        let monitor = try SystemThread(name: "monitor") {
            usleep(microseconds)
            flock(lock.number, LOCK_UN)
        }
        try body()
        monitor.join()
    }

    @Test func aStartWaitsForTheLastRunsFarewell() throws {
        let id = try store.createSample("web")
        try store.files(id).write(end: ContainerExit(started: .now, finished: .now, code: 0))
        try withLockHeld(of: id, for: 300_000) {
            let starter = ContainerStarter(store: store, command: ["/bin/true"])
            let client = try starter.start(store.container(id))
            #expect(client != nil)
        }
    }

    /// What the client of a monitor sees that was killed: the connection is gone, and the lock is held still.
    @Test func aStartWaitsForTheLockOfTheDead() throws {
        let id = try store.createSample("web")
        let dead = try ChildProcess(program: "/bin/true", arguments: []).spawn()
        while RunningProcess.lives(dead) { usleep(1000) }
        defer { waitpid(dead, nil, 0) }
        try store.files(id).write(.running(since: .now, process: dead, boot: HostBoot.identifier))
        try withLockHeld(of: id, for: 300_000) {
            let starter = ContainerStarter(store: store, command: ["/bin/true"])
            let client = try starter.start(store.container(id))
            #expect(client != nil)
        }
    }

    @Test func aStartThatWaitedTooLongSaysSo() throws {
        let id = try store.createSample("web")
        var impatient = store
        impatient.farewellPatience = 0.05
        let starter = ContainerStarter(store: impatient, command: ["/bin/true"])
        try withLockHeld(of: id, for: 500_000) {
            let container = try store.container(id)
            #expect(throws: ContainerError.ending("web", seconds: 0.05)) { try starter.start(container) }
            #expect(throws: ContainerError.ending("web", seconds: 0.05)) { try impatient.remove(id) }
        }
    }

    /// As JSON has it: six bytes for some.
    @Test func aReasonIsWrittenDownHoweverLongItIs() throws {
        let id = try store.createSample("web")
        let files = store.files(id)
        try files.reserveEnd()
        let reason = String(repeating: "\u{1}", count: 1 << 20)
        try files.write(end: ContainerExit(started: .now, finished: .now, code: 1, reason: reason))
        guard case .exited(let exit) = try files.readState() else {
            Issue.record("it has not ended")
            return
        }
        #expect(exit.reason == String(reason.prefix(2000)))
    }

    @Test func aMakerThatFailsLeavesNothing() throws {
        struct Full: Error {}
        let configuration = try ContainerConfiguration.sample("web")
        #expect(throws: Full.self) {
            try store.create(configuration) { path in
                try Files.write([1], to: path)
                throw Full()
            }
        }
        #expect(Files.list(store.path) == ["lock"])
    }

    /// What a SIGKILL after each step of making a container leaves: no container, and nothing once
    /// another is made.
    @Test(arguments: [
        [], ["lock"], ["lock", "config.json"], ["lock", "config.json", "state.json.new"],
        ["lock", "config.json", "state.json"], ["lock", "config.json", "state.json", "disk.img"],
    ])
    func aMakerThatIsKilledLeavesNothing(_ files: [String]) throws {
        let leftover = "\(store.path)/.new-\(ContainerID.random())"
        try Files.makeDirectories(leftover)
        for file in files { try Files.write([0], to: "\(leftover)/\(file)") }
        #expect(store.list().isEmpty)
        _ = try store.createSample("web")
        #expect(!Files.exists(leftover))
    }

    @Test func aMakerThatLivesIsLeftAlone() throws {
        let store = store
        let configuration = try ContainerConfiguration.sample("slow")
        try store.create(configuration) { _ in _ = try store.createSample("quick") }
        #expect(Set(store.list().map(\.name)) == ["slow", "quick"])
    }

    /// What a SIGKILL in mid-removal leaves.
    @Test func aRemoverThatIsKilledLeavesNothing() throws {
        let id = try store.createSample("web")
        #expect(rename(store.files(id).path, "\(store.path)/.removed-\(id)") == 0)
        #expect(store.list().isEmpty)
        _ = try store.createSample("web")
        #expect(!Files.exists("\(store.path)/.removed-\(id)"))
    }

    @Test func aMonitorThatHoldsTheLockRuns() throws {
        let id = try store.createSample("web")
        try store.files(id).write(.running(since: .now, process: 1, boot: HostBoot.identifier))
        let lock = try #require(try store.lock(id))
        #expect(try store.container(id).state.isRunning)
        withExtendedLifetime(lock) {}
    }

    @Test(arguments: [(true, Int32(137), "killed"), (false, 255, "host went down")])
    func theLockTellsThatAMonitorIsGone(_ sameBoot: Bool, _ code: Int32, _ reason: String) throws {
        let id = try store.createSample("web")
        let boot = sameBoot ? HostBoot.identifier : "an earlier one"
        try store.files(id).write(.running(since: .now, process: 1, boot: boot))
        guard case .exited(let exit) = try store.container(id).state else {
            Issue.record("it still runs")
            return
        }
        #expect(exit.code == code && exit.reason?.contains(reason) == true)
        // Written down: the next reader finds the same.
        #expect(try store.files(id).readState() == .exited(exit))
    }

    @Test(arguments: ["", "{}", "{\"version\":2}", "[1]", "\u{0}\u{0}\u{0}"])
    func aDamagedContainerIsNamedAndCanBeRemoved(_ content: String) throws {
        let id = try store.createSample("web")
        _ = try store.createSample("sound")
        try Files.write(Array(content.utf8), to: store.files(id).configuration)
        var complaints: [String] = []
        #expect(store.list { complaints.append($0) }.map(\.name) == ["sound"])
        #expect(complaints.count == 1 && complaints[0].contains(id.short))
        try store.remove(id)
        #expect(throws: ContainerError.self) { try store.container(id) }
    }

    @Test(arguments: ["", "a", "-a", ".a", "a/b", "a b", "ä1", String(repeating: "x", count: 129)])
    func aBadNameIsRefused(_ name: String) {
        #expect(throws: ContainerError.badName(name)) { try ContainerName(name) }
    }

    @Test func madeUpNamesAreNames() throws {
        for _ in 0..<100 {
            let name = ContainerName.random()
            #expect(try ContainerName(name.text) == name)
        }
    }
}
