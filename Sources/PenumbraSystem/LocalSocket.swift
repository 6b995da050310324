// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// Stream sockets with a path (unix(7)).
public enum LocalSocket {
    /// sockaddr_un.sun_path has 108 bytes, the last one zero.
    public static let maximumPath = 107

    public static func connect(to path: String) throws(SystemError) -> Descriptor {
        let socket = try open(path)
        try call("connect", path) { Glibc.connect(socket.number, $0, $1) }
        return socket
    }

    /// A socket that takes connections without waiting for them.
    public static func listen(at path: String) throws(SystemError) -> Descriptor {
        let socket = try open(path)
        socket.setNonblocking()
        try call("bind", path) { Glibc.bind(socket.number, $0, $1) }
        try retrying("listen", path) { Int(Glibc.listen(socket.number, SOMAXCONN)) }
        return socket
    }

    /// Two ends of a connection that has no path (socketpair(2)).
    public static func pair() throws(SystemError) -> (Descriptor, Descriptor) {
        var ends: [Int32] = [0, 0]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try retrying("socketpair", "") { Int(socketpair(AF_UNIX, type, 0, &ends)) }
        return (Descriptor(adopting: ends[0]), Descriptor(adopting: ends[1]))
    }

    private static func open(_ path: String) throws(SystemError) -> Descriptor {
        guard path.utf8.count <= maximumPath else {
            throw SystemError(call: "socket", subject: path, code: ENAMETOOLONG)
        }
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        return Descriptor(
            adopting: Int32(try retrying("socket", path) { Int(Glibc.socket(AF_UNIX, type, 0)) }))
    }

    private static func call(
        _ name: String, _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(SystemError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Checked before: the path fits with its final zero.
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        try retrying(name, path) {
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Int(body($0, socklen_t(MemoryLayout<sockaddr_un>.size)))
                }
            }
        }
    }
}

extension Descriptor {
    /// The next connection to a listening socket, nonblocking; EAGAIN if nobody waits.
    func acceptConnection() -> Result<Descriptor, SystemError> {
        let number = linux_accept(self.number)
        return number < 0
            ? .failure(SystemError(call: "accept", subject: "descriptor \(self.number)", code: errno))
            : .success(Descriptor(adopting: number))
    }

    /// send(2): how many bytes went; nil where a nonblocking socket takes none. A peer that is gone is an
    /// error here, never a SIGPIPE.
    public func send(some bytes: ArraySlice<UInt8>) throws(SystemError) -> Int? {
        let sent = bytes.withUnsafeBytes { buffer in
            // The buffer outlives the call.
            var result = 0
            repeat {
                result = Glibc.send(number, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
            } while result < 0 && errno == EINTR
            return result
        }
        guard sent < 0 else { return sent }
        if errno == EAGAIN { return nil }
        throw SystemError(call: "send", subject: "descriptor \(number)", code: errno)
    }

    /// Sends a descriptor to the other end, which gets one of its own of the same file; or, if there is none
    /// to be had, why.
    public func send(_ descriptor: () throws(SystemError) -> Descriptor) throws(SystemError) {
        do {
            let descriptor = try descriptor()
            try retrying("sendmsg", "descriptor \(number)") {
                Int(linux_send_descriptor(number, descriptor.number))
            }
        } catch { try write([UInt8(clamping: error.code)]) }
    }

    /// Waits for one that is sent. The other end's reason why there is none is this error's code; an end
    /// that closes instead is EBADMSG.
    public func receiveDescriptor() throws(SystemError) -> Descriptor {
        Descriptor(
            adopting: Int32(
                try retrying("recvmsg", "descriptor \(number)") { Int(linux_receive_descriptor(number)) }))
    }

    /// The process that called listen(2) or connect(2) at the other end.
    public var peerProcess: pid_t? {
        let process = linux_peer_process(number)
        return process > 0 ? process : nil
    }
}
