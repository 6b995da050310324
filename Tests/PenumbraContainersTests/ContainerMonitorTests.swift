// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Synchronization
import Testing

@testable import PenumbraContainers

/// A monitor on a thread of its own, with a VM that the test plays.
private final class MonitorBench {
    private let directory: TemporaryDirectory
    let store: ContainerStore
    let container: Container
    let runtime: FakeRuntime
    let starter: MonitorClient
    private let socket: String
    private let thread: SystemThread

    init(refusal: String? = nil, _ change: (inout ContainerConfiguration) -> Void = { _ in }) throws {
        directory = try TemporaryDirectory()
        store = try ContainerStore(path: directory.path + "/c")
        var configuration = try ContainerConfiguration.sample("web")
        change(&configuration)
        try store.create(configuration) { _ in }
        container = try store.find("web")
        let inbox = try RuntimeInbox()
        runtime = FakeRuntime(inbox, refusal: refusal)
        socket = directory.path + "/socket"
        let (ours, theirs) = try LocalSocket.pair()
        starter = MonitorClient(name: "web", socket: ours)
        let listener = try LocalSocket.listen(at: socket)
        let lock = try #require(try store.lock(container.id))
        thread = try SystemThread(name: "monitor") { [store, container, runtime] in
            do {
                let monitor = try ContainerMonitor(
                    container, in: store, runtime: runtime, inbox: inbox, listener: listener,
                    starter: theirs, record: { try store.files(container.id).write(.exited($0)) })
                monitor.farewell(try monitor.run(terminal: nil))
            } catch { Issue.record("\(error)") }
            withExtendedLifetime(lock) {}
        }
    }

    func client() throws -> MonitorClient {
        MonitorClient(name: "web", socket: try LocalSocket.connect(to: socket))
    }

    func tell(_ events: AgentEvent...) { for event in events { runtime.inbox.post(.agent(event)) } }

    /// Waits until the VM was told so.
    func expect(_ call: FakeRuntime.Call, sourceLocation: SourceLocation = #_sourceLocation) {
        for _ in 0..<500 {
            if runtime.calls.contains(call) { return }
            usleep(10_000)
        }
        Issue.record("no \(call) in \(runtime.calls)", sourceLocation: sourceLocation)
    }

    /// How it ended, once it has.
    func end() throws -> ContainerExit {
        thread.join()
        guard case .exited(let exit) = try store.find("web").state else {
            throw ContainerError.notRunning("its end is not written down")
        }
        return exit
    }
}

extension MonitorClient {
    fileprivate func message() throws -> MonitorMessage {
        while true {
            if let message = try next() { return message }
            guard socket.waitReadable(seconds: 10) else { throw ContainerError.silent("web", seconds: 10) }
            try receive()
        }
    }
}

@Suite struct ContainerMonitorTests {
    @Test func theStarterHearsEverythingAndTheLogHasIt() throws {
        let bench = try MonitorBench()
        try bench.starter.send(.attach(takesInput: false))
        bench.expect(.endInput(.main))
        usleep(50_000)
        bench.tell(.started(.main), .output(.main, .standard, Array("hi\n".utf8)))
        #expect(try bench.starter.message() == .started)
        #expect(try bench.starter.message() == .output(.standard, Array("hi\n".utf8)))
        bench.expect(.passOn(.main, 3))
        bench.tell(.terminated(.main, .exited(42), outOfMemory: false))
        #expect(try bench.starter.message() == .ended(SessionEnd(code: 42)))
        #expect(bench.runtime.calls.contains(.powerOff))
        let exit = try bench.end()
        #expect(exit.code == 42 && exit.reason == nil && !exit.isOutOfMemory)
        let records = try LogReader(path: bench.store.files(bench.container.id).log).next()
        #expect(records.map(\.bytes) == [Array("hi\n".utf8)])
    }

    @Test func inputGoesToTheMainProcessAndEndsWithItsStarter() throws {
        let bench = try MonitorBench { $0.keepsInputOpen = true }
        try bench.starter.send(.attach(takesInput: true))
        try bench.starter.send(.input([1, 2, 3]))
        bench.expect(.send(.main, [1, 2, 3]))
        #expect(!bench.runtime.calls.contains(.endInput(.main)))
        shutdown(bench.starter.socket.number, Int32(SHUT_RDWR))
        bench.expect(.endInput(.main))
        bench.tell(.started(.main), .terminated(.main, .killed(signal: SIGSEGV), outOfMemory: false))
        #expect(try bench.end().code == 139)
    }

    @Test func inputThatIsNotTakenIsNotReadForEver() throws {
        let bench = try MonitorBench { $0.keepsInputOpen = true }
        try bench.starter.send(.attach(takesInput: true))
        bench.starter.socket.setNonblocking()
        let piece = MonitorMessage.input([UInt8](repeating: 0, count: 16 << 10)).frame.bytes
        var sent = 0
        for _ in 0..<100 {
            while let count = try bench.starter.socket.send(some: piece[...]) { sent += count }
            usleep(5_000)
        }
        let taken = bench.runtime.calls.reduce(0) {
            if case .send(_, let bytes) = $1 { $0 + bytes.count } else { $0 }
        }
        #expect(taken <= AgentMessage.window + (64 << 10), "\(taken)")
        #expect(sent < 4 << 20, "\(sent)")
        bench.tell(.inputTaken(.main, taken))
        for _ in 0..<200 where bench.runtime.calls.count < 6 { usleep(5_000) }
        bench.tell(.started(.main), .terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }

    @Test func aClientThatDoesNotReadHoldsTheContainerBack() throws {
        let bench = try MonitorBench()
        try bench.starter.send(.attach(takesInput: false))
        bench.expect(.endInput(.main))
        usleep(50_000)
        bench.tell(.started(.main))
        let piece = [UInt8](repeating: 65, count: 64 << 10)
        for _ in 0..<16 { bench.tell(.output(.main, .standard, piece)) }
        usleep(200_000)
        let passed = { () -> Int in
            bench.runtime.calls.reduce(0) { if case .passOn(_, let count) = $1 { $0 + count } else { $0 } }
        }
        #expect(passed() < 16 * piece.count, "\(passed())")
        var received = 0
        while received < 16 * piece.count {
            if case .output(_, let bytes) = try bench.starter.message() { received += bytes.count }
        }
        for _ in 0..<500 where passed() < 16 * piece.count { usleep(10_000) }
        #expect(passed() == 16 * piece.count)
        bench.tell(.terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }

    @Test func stopAsksThenKillsThenEndsTheVM() throws {
        let bench = try MonitorBench { $0.stopSignal = SIGQUIT }
        bench.tell(.started(.main))
        let client = try bench.client()
        try client.send(.stop(seconds: 0))
        bench.expect(.signal(.main, SIGQUIT))
        bench.expect(.signal(.main, SIGKILL))
        bench.tell(.terminated(.main, .killed(signal: SIGKILL), outOfMemory: false))
        #expect(try client.message() == .ended(SessionEnd(code: 137)))
        #expect(try bench.end().code == 137)
    }

    @Test func processesBesideTheMainOneHaveTheirOwnStreams() throws {
        let bench = try MonitorBench()
        bench.tell(.started(.main))
        let (one, two) = (try bench.client(), try bench.client())
        try one.send(.execute(ProcessSpec("cat")))
        let (first, second) = (AgentSession(rawValue: 1), AgentSession(rawValue: 2))
        bench.expect(.execute(first))
        try two.send(.execute(ProcessSpec("nosuch")))
        bench.expect(.execute(second))
        try one.send(.input([7]))
        bench.expect(.send(first, [7]))
        try one.send(.resize(TerminalSize(rows: 3, columns: 4)))
        bench.expect(.resize(first, TerminalSize(rows: 3, columns: 4)))
        bench.tell(
            .started(first), .output(first, .error, [8]),
            .failed(second, AgentFailure(.notFound, "no nosuch")),
            .terminated(first, .exited(3), outOfMemory: false))
        #expect(try one.message() == .started)
        #expect(try one.message() == .output(.error, [8]))
        #expect(try one.message() == .ended(SessionEnd(code: 3)))
        #expect(try two.message() == .ended(SessionEnd(code: 127, reason: "no nosuch")))
        bench.tell(.terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }

    @Test func aCopyOutEndsWithItsReader() throws {
        let bench = try MonitorBench()
        bench.tell(.started(.main))
        let copy = AgentSession(rawValue: 1)
        do {
            let client = try bench.client()
            try client.send(.pack(path: [47], followsLink: false))
            bench.expect(.pack(copy))
            bench.tell(.started(copy))
            #expect(try client.message() == .started)
        }
        bench.expect(.signal(copy, SIGKILL))
        bench.tell(.terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }

    @Test func whoWaitsHearsTheEnd() throws {
        let bench = try MonitorBench()
        let client = try bench.client()
        try client.send(.wait)
        #expect(try bench.client().usage() == ContainerUsage(processorTime: 1, memory: 2, memoryLimit: 3))
        bench.tell(.started(.main), .terminated(.main, .exited(1), outOfMemory: true))
        #expect(
            try client.message()
                == .ended(
                    SessionEnd(code: 1, reason: "the guest ran out of memory: give it more with --memory")))
        #expect(try bench.end().isOutOfMemory)
    }

    @Test func aVMThatDiesIsAnEndWithItsReason() throws {
        let bench = try MonitorBench()
        bench.tell(.started(.main))
        bench.runtime.inbox.post(.ended(reason: "the guest's kernel panicked"))
        let exit = try bench.end()
        #expect(exit.code == 255 && exit.reason == "the guest's kernel panicked")
    }

    @Test func aVMThatDoesNotStartIsAnEndWithItsReason() throws {
        let bench = try MonitorBench(refusal: "no memory")
        try bench.starter.send(.attach(takesInput: false))
        #expect(try bench.starter.message() == .ended(SessionEnd(code: 125, reason: "no memory")))
        #expect(try bench.end().code == 125)
    }

    @Test func aProgramThatCannotBeStartedHasItsCode() throws {
        let bench = try MonitorBench()
        bench.tell(.failed(.main, AgentFailure(.notExecutable, "no")))
        #expect(try bench.end().code == 126)
    }

    @Test func aClientThatTalksNonsenseIsDropped() throws {
        let bench = try MonitorBench()
        let client = try bench.client()
        try client.socket.write([1, 2, 3, 4, 5, 6, 7, 8, 9])
        #expect(throws: ContainerError.lost("web")) { try client.message() }
        let other = try bench.client()
        try other.send(.started)
        #expect(throws: ContainerError.lost("web")) { try other.message() }
        bench.tell(.started(.main), .terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }
}

@Suite struct MonitorMessageTests {
    @Test(
        arguments: [
            .attach(takesInput: true), .execute(ProcessSpec("sh", "-c", "")),
            .pack(path: [0x2f, 0xff], followsLink: true),
            .unpack(path: [], .target), .wait, .stop(seconds: 10), .signal(9), .usage, .input([1]), .inputEnd,
            .resize(TerminalSize(rows: 1, columns: 2)), .sessionSignal(2), .started, .output(.error, [1, 2]),
            .ended(SessionEnd(code: 3, reason: "x")), .ended(SessionEnd(code: 0)),
            .used(ContainerUsage(processorTime: 1, memory: 2, memoryLimit: 3)), .done, .refused("no"),
        ] as [MonitorMessage])
    func whatIsSentIsReceived(_ message: MonitorMessage) throws {
        #expect(try MonitorMessage(message.frame) == message)
    }
}
