// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraContainers
@testable import penumbra

/// A client with endless input, of a process that reads none.
@Suite(.timeLimit(.minutes(1))) struct AttachedStreamsTests {
    private let monitor: MonitorClient
    private let streams: AttachedStreams
    private let signals: Descriptor
    private let arrivals: Descriptor

    init() throws {
        let (ours, theirs) = try LocalSocket.pair()
        ours.setNonblocking()
        monitor = MonitorClient(name: "web", socket: theirs)
        streams = AttachedStreams(
            client: MonitorClient(name: "web", socket: ours), takesInput: true, hasTerminal: false,
            signals: .session)
        (signals, arrivals) = try LocalSocket.pair()
        arrivals.setNonblocking()
    }

    /// signalfd(2)'s record: its number first.
    private func interrupt(by signal: Int32) throws {
        try signals.write([UInt8(signal)] + [UInt8](repeating: 0, count: 127))
    }

    /// What the client comes to, while `monitor` does what it does.
    private func run(_ body: () throws -> Void) throws -> AttachedStreams.End {
        let zeros = try Descriptor(path: "/dev/zero", flags: O_RDONLY)
        nonisolated(unsafe) let streams = streams
        let end = Mutex<AttachedStreams.End?>(nil)
        let thread = try SystemThread(name: "client") { [arrivals] in
            let outcome = try? streams.loop(zeros, arrivals, nil)
            end.withLock { $0 = outcome }
        }
        let result = Result { try body() }
        // A client that lost its monitor ends.
        if case .failure = result { shutdown(monitor.socket.number, Int32(SHUT_RDWR)) }
        thread.join()
        try result.get()
        return try #require(end.withLock { $0 })
    }

    /// The next messages; nil: none comes.
    private func message() throws -> MonitorMessage? {
        while true {
            if let message = try monitor.next() { return message }
            guard monitor.socket.waitReadable(seconds: 1) else { return nil }
            try monitor.receive()
        }
    }

    private func takeInput(_ count: Int) throws {
        var taken = 0
        while taken < count, case .input(let bytes)? = try message() { taken += bytes.count }
        #expect(taken == count)
        #expect(try message() == nil)
    }

    @Test func aSignalDoesNotWaitForTheInputBeforeIt() throws {
        let end = try run {
            try takeInput(MonitorMessage.inputWindow)
            try interrupt(by: SIGINT)
            #expect(try message() == .sessionSignal(SIGINT))
            try monitor.send(.ended(SessionEnd(code: 130)))
        }
        #expect(end == .ended(SessionEnd(code: 130)))
    }

    @Test func moreInputGoesAsTheProcessTakesIt() throws {
        let end = try run {
            try takeInput(MonitorMessage.inputWindow)
            try monitor.send(.inputTaken(1000))
            try takeInput(1000)
            try monitor.send(.ended(SessionEnd(code: 0)))
        }
        #expect(end == .ended(SessionEnd(code: 0)))
    }

    @Test func theThirdInterruptionLeavesAProcessThatDoesNotListen() throws {
        let end = try run {
            try takeInput(MonitorMessage.inputWindow)
            for _ in 0..<2 {
                try interrupt(by: SIGTERM)
                #expect(try message() == .sessionSignal(SIGTERM))
            }
            try interrupt(by: SIGINT)
        }
        #expect(end == .ended(SessionEnd(code: 130)))
    }
}
