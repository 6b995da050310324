// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Testing

@testable import PenumbraContainers

/// Containers on a disk that becomes full while they run: one in memory, which only root can mount.
@Suite(.enabled(if: geteuid() == 0)) struct FullDiskTests {
    private final class SmallDisk {
        private let directory: TemporaryDirectory
        let path: String

        init() throws {
            directory = try TemporaryDirectory()
            path = directory.path + "/disk"
            try Files.makeDirectories(path)
            _ = try ChildProcess.output("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", path])
        }

        deinit { _ = try? ChildProcess.output("umount", [path]) }

        func fill() throws {
            let file = try Descriptor(path: path + "/filling", flags: O_WRONLY | O_CREAT, mode: 0o600)
            do {
                while true { try file.write([UInt8](repeating: 1, count: 4096)) }
            } catch { try #require(error.code == ENOSPC) }
        }
    }

    @Test func howAContainerEndedIsWrittenDown() throws {
        let disk = try SmallDisk()
        let store = try ContainerStore(path: disk.path + "/c")
        _ = try store.createSample("web")
        let bench = try MonitorBench(in: store)
        try bench.starter.send(.attach(takesInput: false))
        bench.tell(.started(.main))
        #expect(try bench.starter.message() == .started)
        try disk.fill()
        bench.tell(.failed(.main, AgentFailure(.notFound, "no such program")))
        #expect(
            try bench.starter.message() == .ended(SessionEnd(code: 127, reason: "no such program")))
        let exit = try bench.end()
        #expect(exit.code == 127 && exit.reason == "no such program")
    }

    @Test func soIsTheEndOfOneWhoseMonitorWasKilled() throws {
        let disk = try SmallDisk()
        let store = try ContainerStore(path: disk.path + "/c")
        let files = store.files(try store.createSample("web"))
        try files.reserveEnd()
        try files.write(.running(since: .now, process: 1, boot: HostBoot.identifier))
        try disk.fill()
        guard case .exited(let exit) = try store.find("web").state else {
            Issue.record("it still runs")
            return
        }
        #expect(exit.code == 137)
        #expect(try files.readState() == .exited(exit))
    }

    @Test func aContainerThatHasNoRoomDoesNotStart() throws {
        let disk = try SmallDisk()
        let store = try ContainerStore(path: disk.path + "/c")
        _ = try store.createSample("web")
        try disk.fill()
        let bench = try MonitorBench(in: store)
        try bench.starter.send(.attach(takesInput: false))
        guard case .ended(let end) = try bench.starter.message() else {
            Issue.record("it started")
            return
        }
        #expect(end.code == 125 && end.reason?.contains("No space left") == true, "\(end)")
        bench.join()
        #expect(bench.runtime.calls.isEmpty)
    }
}
