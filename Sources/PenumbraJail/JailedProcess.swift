// SPDX-License-Identifier: Apache-2.0
import CJail
import Glibc
import PenumbraSystem

/// Two processes out of one: one runs a VM and is jailed, the other, its keeper, stays outside and does
/// what the jailed one cannot do any more when the VM has ended. What that says is an untrusted word: the
/// keeper takes lines, bounded, and checks them.
public struct JailedProcess {
    public enum Side {
        case keeper(of: JailedProcess)
        /// Its end of the line to its keeper.
        case jailed(Descriptor)
    }

    private static let lineLimit = 64 << 10
    private static let end = UInt8(ascii: "\n")

    public let number: pid_t
    private let line: Descriptor

    /// Which of the two is to be jailed.
    public enum Half: Sendable {
        /// It dies with its keeper, if it says so to its jail (Jail.Keeper.parent).
        case child
        /// For a process whose number others know.
        case parent
    }

    /// fork(2), of a process with one thread. Each half keeps its own end of the line only.
    public static func fork(jailing half: Half) throws(SystemError) -> Side {
        let (keepers, jaileds) = try LocalSocket.pair()
        let parent = getpid()
        let child = Int32(try retrying("fork", "") { Int(jail_fork()) })
        if (child == 0) == (half == .child) { return .jailed(jaileds) }
        return .keeper(of: JailedProcess(number: half == .child ? child : parent, line: keepers))
    }

    /// What the jailed process says; nil: it ended without a word, or said too much. Meanwhile the signals
    /// that this process gets (see SignalDescriptor) are passed on to that.
    public func word(passingOn signals: Descriptor? = nil) throws(SystemError) -> [UInt8]? {
        var bytes: [UInt8] = []
        while bytes.count <= Self.lineLimit {
            Descriptor.wait(readable: [line] + (signals.map { [$0] } ?? []))
            if let signal = signals?.takeSignal() { kill(number, signal) }
            guard line.waitReadable(seconds: 0) else { continue }
            guard let more = try line.read(atMost: 4096), !more.isEmpty else { return nil }
            bytes += more
            if bytes.last == Self.end { return bytes.dropLast() }
        }
        kill(number, SIGKILL)
        return nil
    }

    /// Tells the jailed process that what it asked for is done.
    public func acknowledge() throws(SystemError) { try line.write([Self.end]) }

    /// Gives the jailed process the file that it asked for, or the reason why there is none.
    public func hand(_ file: () throws(SystemError) -> Descriptor) throws(SystemError) { try line.send(file) }

    /// Waits for the child's end.
    public func wait() throws(SystemError) -> Termination { try ChildProcess.wait(for: number) }
}

extension Descriptor {
    /// The jailed process's word to its keeper; false: the keeper could not do what it was to do.
    public func tellKeeper(_ text: String) throws(SystemError) -> Bool {
        try write(Array(text.utf8) + [UInt8(ascii: "\n")])
        return try read(atMost: 1)?.isEmpty == false
    }

    /// The jailed process's request for a file; a keeper that has none for it is an error.
    public func askKeeper(_ text: String) throws(SystemError) -> Descriptor {
        try write(Array(text.utf8) + [UInt8(ascii: "\n")])
        return try receiveDescriptor()
    }
}
