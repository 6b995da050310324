// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol
import PenumbraSystem
import PenumbraVMM
import Synchronization
import Testing

@testable import PenumbraContainers

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
        let records = try LogReader(bench.store.files(bench.container.id).log).next()
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

    @Test func eachClientHearsWhatWasTakenOfItsOwnInput() throws {
        let bench = try MonitorBench { $0.keepsInputOpen = true }
        let others = try [bench.client(), bench.client()]
        for (number, client) in others.enumerated() {
            try client.send(.attach(takesInput: true))
            try client.send(.input([UInt8(number), 1, 2]))
            bench.expect(.send(.main, [UInt8(number), 1, 2]))
        }
        bench.tell(.inputTaken(.main, 4))
        #expect(try others[0].message() == .inputTaken(3))
        #expect(try others[1].message() == .inputTaken(1))
        bench.tell(.inputTaken(.main, 2))
        #expect(try others[1].message() == .inputTaken(2))
        bench.tell(.started(.main), .terminated(.main, .exited(0), outOfMemory: false))
        #expect(try bench.end().code == 0)
    }

    /// However much the process has not taken: the window is never full for a client that keeps to it.
    @Test func aSignalNeverWaitsBehindInput() throws {
        let bench = try MonitorBench()
        bench.tell(.started(.main))
        let client = try bench.client()
        try client.send(.execute(ProcessSpec("sleep")))
        let session = AgentSession(rawValue: 1)
        bench.expect(.execute(session))
        try client.send(.input([UInt8](repeating: 0, count: MonitorMessage.inputWindow)))
        try client.send(.sessionSignal(SIGINT))
        bench.expect(.signal(session, SIGINT))
        bench.tell(.terminated(.main, .exited(0), outOfMemory: false))
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
            .inputTaken(65535),
            .ended(SessionEnd(code: 3, reason: "x")), .ended(SessionEnd(code: 0)),
            .used(ContainerUsage(processorTime: 1, memory: 2, memoryLimit: 3)), .done, .refused("no"),
        ] as [MonitorMessage])
    func whatIsSentIsReceived(_ message: MonitorMessage) throws {
        #expect(try MonitorMessage(message.frame) == message)
    }
}
