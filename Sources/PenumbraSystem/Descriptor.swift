// SPDX-License-Identifier: Apache-2.0
import Glibc

/// What a system call refused, to what, and why.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    public let call: String
    public let subject: String
    public let code: Int32

    public init(call: String, subject: String, code: Int32) {
        self.call = call
        self.subject = subject
        self.code = code
    }

    /// What errno says.
    public var reason: String { String(cString: strerror(code)) }

    public var description: String { "\(call) \(subject): \(reason)" }
}

/// An owned file descriptor, closed with its last reference.
public final class Descriptor: Sendable {
    public let number: Int32

    public init(adopting number: Int32) { self.number = number }

    /// open(2); always close-on-exec.
    public init(path: String, flags: Int32, mode: mode_t = 0) throws(SystemError) {
        number = Int32(
            try retrying("open", path) { Int(open(path, flags | O_CLOEXEC, mode)) })
    }

    deinit { close(number) }

    /// read(2): nil where a nonblocking descriptor has nothing, empty at the end.
    public func read(atMost count: Int) throws(SystemError) -> [UInt8]? {
        var taken = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            // The buffer has `count` bytes, and read(2) fills no more.
            repeat { taken = Glibc.read(number, buffer.baseAddress, count) } while taken < 0 && errno == EINTR
            filled = max(taken, 0)
        }
        guard taken < 0 else { return bytes }
        if errno == EAGAIN { return nil }
        throw SystemError(call: "read", subject: "descriptor \(number)", code: errno)
    }

    /// All that is there to read up to the end.
    public func readToEnd() throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        while let chunk = try read(atMost: 1 << 16), !chunk.isEmpty { bytes += chunk }
        return bytes
    }

    /// write(2): how many bytes went; nil where a nonblocking descriptor takes none.
    public func write(some bytes: ArraySlice<UInt8>) throws(SystemError) -> Int? {
        let written = bytes.withUnsafeBytes { buffer in
            // The buffer outlives the call.
            var result = 0
            repeat {
                result = Glibc.write(number, buffer.baseAddress, buffer.count)
            } while result < 0 && errno == EINTR
            return result
        }
        guard written < 0 else { return written }
        if errno == EAGAIN { return nil }
        throw SystemError(call: "write", subject: "descriptor \(number)", code: errno)
    }

    /// Writes everything, waiting as long as it takes.
    public func write(_ bytes: [UInt8]) throws(SystemError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if let count = try write(some: rest) {
                rest = rest.dropFirst(count)
            } else {
                var ready = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
                poll(&ready, 1, -1)
            }
        }
    }

    /// Waits until there is something to read, or the end, `seconds` at most; says whether there is.
    @discardableResult public func waitReadable(seconds: Double? = nil) -> Bool {
        var ready = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        let milliseconds = seconds.map { Int32(min($0 * 1000, 1e9).rounded(.up)) } ?? -1
        while poll(&ready, 1, milliseconds) < 0 && errno == EINTR {}
        return ready.revents != 0
    }

    /// Waits until one of these has something to read, or one of those takes bytes, or one ends.
    public static func wait(readable: [Descriptor], writable: [Descriptor] = []) {
        var list =
            readable.map { pollfd(fd: $0.number, events: Int16(POLLIN), revents: 0) }
            + writable.map { pollfd(fd: $0.number, events: Int16(POLLOUT), revents: 0) }
        while poll(&list, nfds_t(list.count), -1) < 0 && errno == EINTR {}
    }

    public func setNonblocking() { _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK) }

    /// Takes the advisory lock of this open file, if nobody has it. The lock lives as long as any
    /// descriptor of the same open file, in whatever process.
    /// A shared one keeps only exclusive ones out.
    public func tryLock(shared: Bool = false) -> Bool {
        flock(number, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0
    }

    /// Takes that lock as soon as nobody else has it.
    public func waitForLock() { while flock(number, LOCK_EX) != 0 && errno == EINTR {} }

    /// Takes the lock with others that share it, as soon as nobody has it alone.
    public func waitForSharedLock() { while flock(number, LOCK_SH) != 0 && errno == EINTR {} }
}

/// Runs a system call again while a signal interrupts it; negative results throw.
@discardableResult
public func retrying(_ call: String, _ subject: String, _ body: () -> Int) throws(SystemError) -> Int {
    while true {
        let result = body()
        if result >= 0 { return result }
        if errno != EINTR { throw SystemError(call: call, subject: subject, code: errno) }
    }
}
