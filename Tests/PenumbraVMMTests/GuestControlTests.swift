// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraVMM

/// A VM's end of its socket, served by a thread as GuestRun would.
private final class ServedGuest {
    private final class Record: Sendable {
        let outcome = Mutex<GuestOutcome?>(nil)
        let powerOffs = Mutex(0)
        let size = Mutex<TerminalSize?>(nil)
    }

    static let status = GuestStatus(
        name: "web", process: getpid(), state: .running, memory: 256 << 20, kernel: "vmlinuz 1", age: 0)

    private let record = Record()
    private let stop: Descriptor
    private let thread: SystemThread

    /// `listens`: the guest powers off when it is asked to.
    init(in directory: RunDirectory, listens: Bool = false) throws {
        let stop = try EventDescriptor.open()
        self.stop = stop
        let registration = try directory.claim(GuestName("web"))
        thread = try SystemThread(name: "control") { [record] in
            let actions = GuestControl.Actions(
                counters: { [("page_faults", 7), ("hypercalls", 0)] },
                requestPowerOff: { record.powerOffs.withLock { $0 += 1 } },
                resize: { size in record.size.withLock { $0 = size } })
            // Without it nobody answers, which every test finds.
            guard let control = try? GuestControl(registration, Self.status, actions) else { return }
            while true {
                let descriptors = control.descriptors + [stop]
                var list = descriptors.map { pollfd(fd: $0.number, events: Int16(POLLIN), revents: 0) }
                poll(&list, nfds_t(list.count), -1)
                if list.last?.revents != 0 { return }
                for (entry, descriptor) in zip(list, descriptors) where entry.revents != 0 {
                    if let outcome = try? control.serve(descriptor) {
                        return record.outcome.withLock { $0 = outcome }
                    }
                }
                if listens, record.powerOffs.withLock({ $0 }) > 0 { return }
            }
        }
    }

    var size: TerminalSize? { record.size.withLock { $0 } }

    /// Ends the service and says what came of it.
    func end() -> (outcome: GuestOutcome?, powerOffs: Int) {
        stop.signalEvent()
        thread.join()
        return (record.outcome.withLock { $0 }, record.powerOffs.withLock { $0 })
    }
}

@Suite struct GuestControlTests {
    private let temporary: TemporaryDirectory
    private let directory: RunDirectory

    init() throws {
        temporary = try TemporaryDirectory()
        directory = RunDirectory(path: temporary.path)
    }

    private func client() throws -> GuestClient { try directory.connect(to: GuestName("web")) }

    @Test func aGuestTellsItsStatus() throws {
        let guest = try ServedGuest(in: directory)
        #expect(try directory.names() == ["web"])
        #expect(try client().status() == ServedGuest.status)
        #expect(guest.end() == (nil, 0))
    }

    @Test func aGuestTellsItsCounters() throws {
        let guest = try ServedGuest(in: directory)
        let counters = try #require(try client().counters())
        #expect(counters.map(\.name) == ["page_faults", "hypercalls"] && counters.map(\.value) == [7, 0])
        _ = guest.end()
    }

    @Test func aGuestIsToldItsTerminalsSize() throws {
        let guest = try ServedGuest(in: directory)
        let size = TerminalSize(rows: 50, columns: 132)
        try client().resize(to: size)
        #expect(guest.size == size)
        _ = guest.end()
    }

    @Test func aGuestThatListensIsStopped() throws {
        let guest = try ServedGuest(in: directory, listens: true)
        #expect(try client().stop(within: 30))
        #expect(guest.end() == (nil, 1))
        #expect(try directory.names().isEmpty)
    }

    @Test func aGuestThatDoesNotListenIsNot() throws {
        let guest = try ServedGuest(in: directory)
        #expect(try !client().stop(within: 0.05))
        #expect(try client().status()?.state == .stopping)
        #expect(guest.end() == (nil, 1))
    }

    @Test func aGuestIsKilled() throws {
        let guest = try ServedGuest(in: directory)
        try client().kill()
        #expect(guest.end() == (.killed, 0))
        #expect(try directory.names().isEmpty)
    }

    @Test(arguments: [
        "nonsense\n", "status", "size 1\n", "size 1x\n", "status 1\n", " status\n",
        String(repeating: "x", count: 1000), "\n",
    ])
    func strangersAreShownOut(_ request: String) throws {
        let guest = try ServedGuest(in: directory)
        do {
            let stranger = try LocalSocket.connect(to: temporary.path + "/vm/web")
            _ = try stranger.send(some: Array(request.utf8)[...])
            if request != "status" { #expect((try? stranger.read(atMost: 10))?.isEmpty ?? true) }
        }
        #expect(try client().status() == ServedGuest.status)
        _ = guest.end()
    }

    /// Many that only connect keep nobody out for long.
    @Test func theSilentLeaveRoom() throws {
        let guest = try ServedGuest(in: directory)
        var crowd: [Descriptor] = []
        for _ in 0..<40 { crowd.append(try LocalSocket.connect(to: temporary.path + "/vm/web")) }
        crowd.removeAll()
        #expect(try client().status() == ServedGuest.status)
        _ = guest.end()
    }
}

@Suite struct RunDirectoryTests {
    private let temporary: TemporaryDirectory
    private let directory: RunDirectory

    init() throws {
        temporary = try TemporaryDirectory()
        directory = RunDirectory(path: temporary.path)
    }

    @Test func aNameIsTakenOnce() throws {
        let registration = try directory.claim(GuestName("a"))
        #expect(throws: RunDirectory.Problem.nameTaken("a")) { try directory.claim(GuestName("a")) }
        #expect(throws: RunDirectory.Problem.nameTaken("a")) { try directory.requireFree(GuestName("a")) }
        try directory.requireFree(GuestName("b"))
        let other = try directory.claim(GuestName("b"))
        #expect(try directory.names() == ["a", "b"])
        withExtendedLifetime((registration, other)) {}
    }

    @Test func aNameIsGivenBack() throws {
        do {
            let registration = try directory.claim(GuestName("a"))
            withExtendedLifetime(registration) {}
        }
        #expect(Files.list(temporary.path + "/vm").isEmpty)
        _ = try directory.claim(GuestName("a"))
    }

    /// Leaves what a process does that was killed. For a moment a child that another test has forked, and that
    /// executes its program next, listens too.
    private func leaveSocket(at path: String) throws {
        do { _ = try LocalSocket.listen(at: path) }
        while (try? LocalSocket.connect(to: path)) != nil { usleep(1000) }
    }

    /// What a process leaves that was killed: a socket that nobody listens to.
    @Test func whatTheDeadLeftIsNoVM() throws {
        let name = try GuestName("a")
        _ = try directory.claim(name)
        let path = temporary.path + "/vm/a"
        try leaveSocket(at: path)
        #expect(Files.exists(path))
        #expect(try directory.names().isEmpty)
        #expect(!Files.exists(path))
        #expect(throws: RunDirectory.Problem.notRunning("a")) { try directory.connect(to: name) }
        try leaveSocket(at: path)
        let registration = try directory.claim(name)
        #expect(try directory.names() == ["a"])
        withExtendedLifetime(registration) {}
    }

    /// A socket that is bound, and does not listen yet, looks like one that the dead left.
    @Test func whoListsDoesNotTakeANameAway() throws {
        let ended = Mutex(false)
        let lister = try SystemThread(name: "lister") { [directory] in
            while !ended.withLock({ $0 }) { _ = try? directory.names() }
        }
        defer {
            ended.withLock { $0 = true }
            lister.join()
        }
        for _ in 0..<2000 {
            let registration = try directory.claim(GuestName("a"))
            #expect(Files.exists(registration.path))
        }
    }

    @Test func nobodyIsThereAtFirst() throws {
        #expect(try directory.names().isEmpty)
        #expect(throws: RunDirectory.Problem.notRunning("a")) { try directory.connect(to: GuestName("a")) }
    }

    @Test func aDirectoryThatIsOpenToOthersIsRefused() throws {
        let sockets = temporary.path + "/vm"
        try Files.makeDirectories(sockets, mode: 0o755)
        #expect(throws: RunDirectory.Problem.notOurs(sockets)) { try directory.claim(GuestName("a")) }
    }

    /// In /tmp the directory may be another's, who wants our files removed.
    @Test func aDirectoryThatLeadsElsewhereIsRefused() throws {
        let (precious, elsewhere) = (temporary.path + "/elsewhere/key", temporary.path + "/elsewhere")
        try Files.makeDirectories(elsewhere, mode: 0o700)
        try Files.write(Array("secret".utf8), to: precious)
        let sockets = temporary.path + "/vm"
        #expect(symlink(elsewhere, sockets) == 0)
        #expect(throws: RunDirectory.Problem.notOurs(sockets)) { try directory.names() }
        #expect(throws: RunDirectory.Problem.notOurs(sockets)) { try directory.connect(to: GuestName("key")) }
        #expect(throws: RunDirectory.Problem.notOurs(sockets)) { try directory.claim(GuestName("a")) }
        #expect(Files.exists(precious))
    }

    @Test func onlySocketsAreRemoved() throws {
        let sockets = temporary.path + "/vm"
        try Files.makeDirectories(sockets, mode: 0o700)
        try Files.write(Array("text".utf8), to: sockets + "/file")
        #expect(try directory.names().isEmpty)
        #expect(Files.exists(sockets + "/file"))
    }

    @Test func aPathThatIsTooLongForASocketIsTold() throws {
        let long = RunDirectory(path: temporary.path + "/" + String(repeating: "d", count: 60))
        #expect(throws: (any Error).self) { try long.claim(GuestName(String(repeating: "n", count: 64))) }
    }
}

@Suite struct HostMemoryTests {
    @Test func aGuestLargerThanTheHostIsRefused() throws {
        let size = try MemorySize("1G")
        try HostMemory.check(size, against: 1 << 30)
        #expect(throws: VMMError.moreThanHost(wanted: 1 << 30, has: 1 << 30 - 4096)) {
            try HostMemory.check(size, against: 1 << 30 - 4096)
        }
        #expect(HostMemory.size >= 64 << 20)
    }

    @Test func aRAMDiskAsLargeAsTheGuestIsRefused() throws {
        let memory = try MemorySize("1M")
        try XenGuest.check(initrd: [UInt8](repeating: 0, count: 1 << 20 - 1), against: memory)
        #expect(throws: VMMError.initrdTooLarge(bytes: 1 << 20, memory: 1 << 20)) {
            try XenGuest.check(initrd: [UInt8](repeating: 0, count: 1 << 20), against: memory)
        }
    }
}
