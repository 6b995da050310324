// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// A process of the container, or a copy, and its streams, from its start to the last byte of its output.
struct Session {
    let process: pid_t
    /// Reports how far the child came; nil when it is known.
    private(set) var status: Descriptor?
    private var report: [UInt8] = []
    /// Bytes of the host's that the process has not read yet, and where they go.
    private(set) var input: Descriptor?
    private var queued: [UInt8] = []
    private var inputEnds = false
    /// Where its output comes from.
    private(set) var outputs: [(source: Descriptor, stream: OutputStream)]
    private var terminal: Descriptor?
    /// What the host may be sent.
    private var credit = Credit()
    private var received = Credit()
    private var hasStarted = false
    private var termination: Termination?

    init(_ launch: Launch) {
        (process, status) = (launch.process, launch.status)
        input = launch.input
        outputs = launch.outputs.map { ($0.0, $0.1) }
    }

    // MARK: What it waits for

    var wantsToWrite: Bool { !queued.isEmpty }
    var mayRead: Bool { hasStarted && credit.available > 0 }

    // MARK: Its start

    /// Takes what the child reports; the messages for the host.
    mutating func readStatus(as number: AgentSession) -> [AgentMessage] {
        guard let status else { return [] }
        var bytes = [UInt8](repeating: 0, count: 4096)
        var descriptor: Int32 = -1
        let count = init_receive(status.number, &bytes, bytes.count, &descriptor)
        if descriptor >= 0 {
            takeTerminal(Descriptor(adopting: descriptor))
            return []
        }
        if count < 0 && errno == EAGAIN { return [] }
        if count > 0 {
            report += bytes.prefix(count)
            return []
        }
        self.status = nil
        guard report.isEmpty else { return [.failed(number, failure)] }
        hasStarted = true
        return [.started(number)]
    }

    /// The child's own words.
    private var failure: AgentFailure {
        AgentFailure(
            AgentFailure.Kind(rawValue: report[0]) ?? .setup,
            String(decoding: report.dropFirst(), as: UTF8.self))
    }

    /// The child came to nothing.
    var hasFailed: Bool { status == nil && !hasStarted }

    private mutating func takeTerminal(_ terminal: Descriptor) {
        terminal.setNonblocking()
        self.terminal = terminal
        input = terminal
        outputs = [(terminal, .standard)]
    }

    // MARK: Input

    /// False: more than the host had credit for.
    mutating func queue(_ bytes: [UInt8]) -> Bool {
        queued += bytes
        return received.spend(bytes.count)
    }

    /// Behind what is queued. A terminal has no end: it is hung up with its last reader.
    mutating func endInput() {
        inputEnds = true
        closeInputAtEnd()
    }

    private mutating func closeInputAtEnd() {
        if inputEnds, queued.isEmpty, terminal == nil { input = nil }
    }

    /// Gives the process what it takes; the credit for that.
    mutating func feed(as number: AgentSession) -> [AgentMessage] {
        guard let input, !queued.isEmpty else { return [] }
        var count = queued.count
        do throws(SystemError) {
            guard let written = try input.write(some: queued[...]) else { return [] }
            count = written
        } catch {
            // Nobody will read it, as behind a pipe in a shell; a later write would find the same.
            self.input = nil
        }
        queued.removeFirst(count)
        _ = received.give(count)
        closeInputAtEnd()
        return [.credit(number, UInt32(count))]
    }

    // MARK: Output

    /// Reads a chunk of one of its outputs.
    mutating func read(_ index: Int, as number: AgentSession) -> [AgentMessage] {
        let (source, stream) = outputs[index]
        switch readChunk(source) {
        case .bytes(let bytes): return [.output(number, stream, bytes)]
        case .nothing: return []
        case .end:
            outputs.remove(at: index)
            return []
        }
    }

    private enum Chunk {
        case bytes([UInt8])
        case nothing
        case end
    }

    private mutating func readChunk(_ source: Descriptor) -> Chunk {
        let room = min(credit.available, AgentMessage.chunk)
        guard room > 0 else { return .nothing }
        do throws(SystemError) {
            guard let bytes = try source.read(atMost: room) else { return .nothing }
            guard !bytes.isEmpty else { return .end }
            _ = credit.spend(bytes.count)
            return .bytes(bytes)
        } catch {
            // A terminal without a process at its other end gives EIO.
            return .end
        }
    }

    /// The host passed output on; false: more than it got.
    mutating func give(_ count: UInt32) -> Bool { credit.give(Int(count)) }

    // MARK: The terminal, signals

    func resize(to size: TerminalSize) {
        guard let terminal else { return }
        // Fails for no terminal that is open.
        _ = init_set_window_size(terminal.number, size.rows, size.columns)
    }

    /// To this process alone, while its number is its own.
    func signal(_ number: Int32) { if termination == nil { kill(process, number) } }

    // MARK: Its end

    mutating func ended(_ termination: Termination) { self.termination = termination }

    /// How the process ended, once nothing of its output is left. What its own children write from then on
    /// has no session.
    mutating func finish(as number: AgentSession) -> (output: [AgentMessage], end: Termination?) {
        guard let termination, hasStarted else { return ([], nil) }
        var messages: [AgentMessage] = []
        while let (source, stream) = outputs.first {
            guard credit.available > 0 else { return (messages, nil) }
            if case .bytes(let bytes) = readChunk(source) {
                messages.append(.output(number, stream, bytes))
            } else {
                outputs.removeFirst()
            }
        }
        return (messages, termination)
    }
}
