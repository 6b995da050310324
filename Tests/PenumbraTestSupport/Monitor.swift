// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import PenumbraMachine
import PenumbraSystem

/// QEMU's monitor of a machine: line by line JSON over a socket (docs/interop/qmp-spec in QEMU).
public final class Monitor {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let socket: UnsafeMutablePointer<FILE>

    public init(of machine: TestMachine) throws {
        let path = try StateDirectory(name: machine.name).file("qmp")
        let connection = try LocalSocket.connect(to: path)
        guard let file = fdopen(dup(connection.number), "r+") else {
            throw SystemError(call: "fdopen", subject: path, code: errno)
        }
        socket = file
        _ = try readLine()
        try execute("qmp_capabilities")
    }

    deinit { fclose(socket) }

    private func readLine() throws -> String {
        var line: UnsafeMutablePointer<CChar>?
        var size = 0
        defer { free(line) }
        guard getline(&line, &size, socket) > 0, let line else {
            throw Failure(description: "QEMU's monitor closed the connection")
        }
        return String(cString: line)
    }

    /// Sends a command and waits for its answer; events that come between are nobody's.
    @discardableResult
    public func execute(_ command: String, arguments: String = "{}") throws -> String {
        fputs("{\"execute\": \"\(command)\", \"arguments\": \(arguments)}\n", socket)
        fflush(socket)
        while true {
            let answer = try readLine()
            if answer.hasPrefix("{\"return\"") { return answer }
            if answer.hasPrefix("{\"error\"") { throw Failure(description: "\(command): \(answer)") }
        }
    }

    /// A command of the monitor for people; what it printed, in JSON's spelling.
    @discardableResult
    public func order(_ line: String) throws -> String {
        try execute("human-monitor-command", arguments: "{\"command-line\": \"\(line)\"}")
    }

    /// Non-maskable interrupts to CPU 0, 1,300 a second as far as the monitor takes them; how many.
    /// The host prints a line for each: with twice as many its CPU would do nothing else.
    public func injectNMIs(seconds: Double) throws -> Int {
        let begin = monotonicSeconds()
        var count = 0
        while monotonicSeconds() < begin + seconds {
            try execute("inject-nmi")
            count += 1
            let early = begin + Double(count) / 1300 - monotonicSeconds()
            if early > 0 { usleep(UInt32(early * 1_000_000)) }
        }
        return count
    }

    /// Orders something at a moment when CPU 0 executes at such an address and privilege level.
    public func order(_ line: String, when suits: (UInt64, Int) -> Bool) throws {
        let patience = monotonicSeconds() + 60
        while monotonicSeconds() < patience {
            try execute("stop")
            let place = try place()
            if suits(place.address, place.level) {
                try order(line)
                try execute("cont")
                return
            }
            try execute("cont")
            usleep(UInt32.random(in: 1000...5000))
        }
        throw Failure(description: "CPU 0 was never where '\(line)' was to be given")
    }

    /// RIP and CPL of CPU 0.
    private func place() throws -> (address: UInt64, level: Int) {
        let registers = try order("info registers")
        guard let address = registers.firstMatch(of: /RIP=([0-9a-f]+)/).flatMap({ UInt64($0.1, radix: 16) }),
            let level = registers.firstMatch(of: /CPL=([0-3])/).flatMap({ Int($0.1) })
        else { throw Failure(description: "the monitor shows no registers: \(registers)") }
        return (address, level)
    }
}
