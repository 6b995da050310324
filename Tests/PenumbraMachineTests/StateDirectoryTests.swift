// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraMachine

@Suite struct StateDirectoryTests {
    @Test(arguments: ["", "A", "a/b", "..", "a b", String(repeating: "x", count: 33)])
    func badNamesAreRefused(_ name: String) {
        #expect(throws: MachineError.badName(name)) { try StateDirectory(name: name, root: "/tmp") }
    }

    @Test func pathsTooLongForSocketsAreRefused() {
        let root = "/" + String(repeating: "d", count: 90)
        #expect(throws: MachineError.pathTooLong("\(root)/machine/default")) {
            try StateDirectory(name: "default", root: root)
        }
    }

    @Test func aSecondClaimIsRefusedWhileTheFirstIsHeld() throws {
        let directory = try TemporaryDirectory()
        let state = try StateDirectory(name: "one", root: directory.path)
        #expect(!state.isRunning)
        let lock = try state.claim()
        #expect(state.isRunning)
        #expect(throws: MachineError.alreadyRunning("one", pid: nil)) { try state.claim() }
        withExtendedLifetime(lock) {}
    }

    @Test func machinesWithOtherNamesDoNotMeet() throws {
        let directory = try TemporaryDirectory()
        let first = try StateDirectory(name: "one", root: directory.path).claim()
        let second = try StateDirectory(name: "two", root: directory.path)
        #expect(!second.isRunning)
        let lock = try second.claim()
        #expect(second.isRunning)
        withExtendedLifetime((first, lock)) {}
    }

    /// The child stands for QEMU: it inherits the lock's open file, as spawnQemu arranges.
    @Test func whatAKilledMachineLeftIsCleared() throws {
        let directory = try TemporaryDirectory()
        let state = try StateDirectory(name: "one", root: directory.path)
        let child = try spawnHolder(of: state)
        for name in ["pid", "qmp", "agent.0", "settings", "console.log"] {
            try Files.write(Array("\(child)\n".utf8), to: state.file(name))
        }
        #expect(state.isRunning)
        #expect(throws: MachineError.alreadyRunning("one", pid: child)) { try state.claim() }

        kill(child, SIGKILL)
        waitpid(child, nil, 0)
        #expect(!state.isRunning)
        let lock = try state.claim()
        #expect(Files.list(state.path) == ["lock"])
        withExtendedLifetime(lock) {}
    }

    private func spawnHolder(of state: StateDirectory) throws -> pid_t {
        let lock = try state.claim()
        return try ChildProcess(
            program: "sleep", arguments: ["100"], descriptors: [(lock.number, 9)], ownSession: true
        ).spawn()
    }
}
