// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// A program that the agent runs for a client, in a process group of its own, or with a terminal in a
/// session of its own.
final class AgentProgram {
    private static let environment = [
        "PATH=/usr/bin:/bin:/sbin", "HOME=/root", "TERM=dumb",
        "LD_LIBRARY_PATH=\(Initramfs.libraryDirectory)",
    ]

    /// More than a pipe holds (64 KiB, pipe(7)), so that a program's last words get through.
    private static let pipeChunks = 8

    let processID: pid_t
    /// Becomes readable when the program ends (pidfd_open(2)).
    private let processDescriptor: Descriptor
    private var input: Descriptor?
    private var output: Descriptor?
    private var errorOutput: Descriptor?
    private let terminal: PseudoTerminal?
    private var queued: [UInt8] = []
    private var inputEnds = false

    init(_ command: Command) throws(SystemError) {
        guard let program = command.arguments.first else {
            throw SystemError(call: "starting", subject: "a command without a name", code: EINVAL)
        }
        var child = ChildProcess(
            program: program, arguments: Array(command.arguments.dropFirst()),
            environment: Self.environment + command.environment, directory: command.directory)
        // Kept open until the child has its own.
        var childEnds: [Descriptor] = []
        if let size = command.terminal {
            let terminal = try PseudoTerminal(size: size)
            child.ownSession = true
            child.terminal = terminal.path
            (input, output, self.terminal) = (terminal.master, terminal.master, terminal)
        } else {
            let (childInput, input) = try ChildProcess.pipe()
            let (output, childOutput) = try ChildProcess.pipe()
            let (errorOutput, childErrorOutput) = try ChildProcess.pipe()
            childEnds = [childInput, childOutput, childErrorOutput]
            child.descriptors = childEnds.enumerated().map { ($1.number, Int32($0)) }
            (self.input, self.output, self.errorOutput) = (input, output, errorOutput)
            terminal = nil
        }
        for descriptor in [input, output, errorOutput] { descriptor?.setNonblocking() }
        let process = try withExtendedLifetime(childEnds) { () throws(SystemError) in try child.spawn() }
        processID = process
        processDescriptor = Descriptor(
            adopting: Int32(try retrying("pidfd_open", program) { Int(linux_pidfd_open(process)) }))
    }

    /// What to wait for; every outcome is a message to the client.
    func watches(takeOutput: Bool, send: @escaping (Message) -> Void) -> [Watch] {
        var watches: [Watch] = []
        if let input, !queued.isEmpty {
            watches.append(Watch(input, POLLOUT) { [self] in feed(input, send) })
        }
        if takeOutput {
            if let output {
                watches.append(
                    Watch(output, POLLIN) { [self] in
                        if !Self.drain(output, chunks: 1, { send(.output($0)) }) { self.output = nil }
                    })
            }
            if let errorOutput {
                watches.append(
                    Watch(errorOutput, POLLIN) { [self] in
                        if !Self.drain(errorOutput, chunks: 1, { send(.errorOutput($0)) }) {
                            self.errorOutput = nil
                        }
                    })
            }
        }
        watches.append(Watch(processDescriptor, POLLIN) { [self] in collect(send) })
        return watches
    }

    func queue(_ bytes: [UInt8]) { queued += bytes }

    func endInput() {
        inputEnds = true
        if queued.isEmpty { input = nil }
    }

    func resize(to size: TerminalSize) { terminal?.resize(to: size) }

    /// Signals the whole group.
    func kill(_ signal: Int32) { Glibc.kill(-processID, signal) }

    private func feed(_ input: Descriptor, _ send: (Message) -> Void) {
        do {
            guard let count = try input.write(some: queued[...]) else { return }
            queued.removeFirst(count)
            send(.inputTaken(UInt32(count)))
        } catch {
            // The program closed its input: what is left has no reader, as in a shell's pipe.
            send(.inputTaken(UInt32(queued.count)))
            queued = []
            self.input = nil
        }
        if inputEnds && queued.isEmpty { self.input = nil }
    }

    /// Passes on at most so many chunks of what a pipe or a terminal has; false at its end, which for a
    /// terminal is an error.
    private static func drain(_ pipe: Descriptor, chunks: Int, _ pass: ([UInt8]) -> Void) -> Bool {
        for _ in 0..<chunks {
            let bytes: [UInt8]
            do {
                guard let read = try pipe.read(atMost: Frame.maximumPayload) else { return true }
                bytes = read
            } catch { return false }
            if bytes.isEmpty { return false }
            pass(bytes)
        }
        return true
    }

    /// The program ended: its last words, then how. Its children may hold the pipes open for ever.
    private func collect(_ send: (Message) -> Void) {
        guard let termination = ChildProcess.ended(processID) else { return }
        if let output { _ = Self.drain(output, chunks: Self.pipeChunks) { send(.output($0)) } }
        if let errorOutput { _ = Self.drain(errorOutput, chunks: Self.pipeChunks) { send(.errorOutput($0)) } }
        send(.terminated(termination))
    }
}
