// SPDX-License-Identifier: Apache-2.0
import CInit
import CLinux
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// A child as the agent has it: its number, its report and its streams.
struct Launch {
    let process: pid_t
    let status: Descriptor
    let input: Descriptor?
    let outputs: [(Descriptor, OutputStream)]

    /// Starts a child, which is on its own from here on.
    init(_ entry: Child.Entry, _ job: Child.Job) throws(SystemError) {
        let (status, childStatus) = try Self.socketPair()
        var childStreams: [Descriptor] = []
        if job.needsPipes {
            let (childInput, input) = try Self.pipe()
            let (output, childOutput) = try Self.pipe()
            let (error, childError) = try Self.pipe()
            for descriptor in [input, output, error] { descriptor.setNonblocking() }
            childStreams = [childInput, childOutput, childError]
            self.input = input
            outputs = [(output, .standard), (error, .error)]
        } else {
            (input, outputs) = (nil, [])
        }
        self.status = status
        process = try Self.fork(entry, job)
        guard process == 0 else { return }
        Child(entry: entry, job: job, streams: childStreams, status: childStatus).run()
    }

    /// Processes of the container have its process numbers; copies are the agent's own.
    private static func fork(_ entry: Child.Entry, _ job: Child.Job) throws(SystemError) -> pid_t {
        switch (entry, job) {
        case (.create, _): try fork(UInt(INIT_NEW_PROCESSES))
        case (.join(let mainProcess, _), .program): try fork(beside: mainProcess)
        case (.join, _): try fork(0)
        }
    }

    private static func fork(_ namespaces: UInt) throws(SystemError) -> pid_t {
        pid_t(try retrying("fork", "for a process") { Int(init_fork(namespaces)) })
    }

    /// Only children get into a namespace of process numbers, so the agent points at that one for a moment.
    private static func fork(beside mainProcess: Descriptor) throws(SystemError) -> pid_t {
        let own = try Descriptor(path: "/proc/self/ns/pid", flags: O_RDONLY)
        let kind = Int32(INIT_NEW_PROCESSES)
        try retrying("setns", "the container's processes") { Int(init_setns(mainProcess.number, kind)) }
        let process = init_fork(0)
        let code = errno
        if process != 0 {
            try retrying("setns", "the agent's processes") { Int(init_setns(own.number, kind)) }
        }
        guard process >= 0 else { throw SystemError(call: "fork", subject: "for a process", code: code) }
        return process
    }

    private static func pipe() throws(SystemError) -> (read: Descriptor, write: Descriptor) {
        var ends: [Int32] = [0, 0]
        try retrying("pipe", "") { Int(linux_pipe_cloexec(&ends)) }
        return (Descriptor(adopting: ends[0]), Descriptor(adopting: ends[1]))
    }

    private static func socketPair() throws(SystemError) -> (Descriptor, Descriptor) {
        var ends: [Int32] = [0, 0]
        try retrying("socketpair", "") { Int(init_socket_pair(&ends)) }
        return (Descriptor(adopting: ends[0]), Descriptor(adopting: ends[1]))
    }
}

extension Child.Job {
    fileprivate var needsPipes: Bool {
        if case .program(let spec) = self { spec.terminal == nil } else { true }
    }
}
