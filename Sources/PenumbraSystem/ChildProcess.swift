// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// Starts programs with posix_spawn(3).
public struct ChildProcess {
    public var program: String
    public var arguments: [String]
    /// NAME=VALUE lines; nil: what this process was started with.
    public var environment: [String]?
    public var directory: String?
    /// Descriptors that the child gets, by the number that it sees.
    public var descriptors: [(parent: Int32, child: Int32)] = []
    /// A session of its own, out of reach of the terminal's signals.
    public var ownSession = false
    /// A terminal's path: the child's three streams, and its own session's controlling terminal.
    public var terminal: String?

    public init(
        program: String, arguments: [String], environment: [String]? = nil, directory: String? = nil,
        descriptors: [(parent: Int32, child: Int32)] = [], ownSession: Bool = false
    ) {
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.directory = directory
        self.descriptors = descriptors
        self.ownSession = ownSession
    }

    /// The child's process id.
    public func spawn() throws(SystemError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        for (parent, child) in descriptors { posix_spawn_file_actions_adddup2(&actions, parent, child) }
        if let terminal {
            // A session's first process gets the terminal that it opens first (open(2), O_NOCTTY).
            posix_spawn_file_actions_addopen(&actions, 0, terminal, O_RDWR, 0)
            for stream in Int32(1)...2 { posix_spawn_file_actions_adddup2(&actions, 0, stream) }
        }
        // What outlives us keeps nothing of ours open, inherited descriptors included.
        if ownSession { linux_spawn_close_from(&actions, (descriptors.map(\.child).max() ?? 2) + 1) }
        if let directory { linux_spawn_chdir(&actions, directory) }
        linux_spawn_set_flags(&attributes, ownSession ? 1 : 0)

        var child = pid_t()
        let result = Self.withCStrings([program] + arguments) { argumentPointers in
            Self.withCStrings(environment ?? Self.ownEnvironment()) { environmentPointers in
                posix_spawnp(&child, program, &actions, &attributes, argumentPointers, environmentPointers)
            }
        }
        guard result == 0 else { throw SystemError(call: "starting", subject: program, code: result) }
        return child
    }

    private static func ownEnvironment() -> [String] {
        (Files.text("/proc/self/environ") ?? "").split(separator: "\0").map(String.init)
    }

    /// Calls `body` with a null-terminated array of C strings that lives as long as the call.
    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = strings.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }

    /// What a program prints, if it succeeds.
    public static func output(_ program: String, _ arguments: [String]) throws(SystemError) -> String {
        let (child, result) = try spawnWithOutput(program, arguments)
        var bytes: [UInt8] = []
        while let chunk = try result.read(atMost: 1 << 16), !chunk.isEmpty { bytes += chunk }
        var status: Int32 = 0
        try retrying("waitpid", program) { Int(waitpid(child, &status, 0)) }
        guard status == 0 else { throw SystemError(call: "running", subject: program, code: EIO) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The child and the pipe that it writes to; our copy of the writing end is closed on return.
    private static func spawnWithOutput(
        _ program: String, _ arguments: [String]
    ) throws(SystemError) -> (pid_t, Descriptor) {
        let (result, output) = try pipe()
        let child = try ChildProcess(
            program: program, arguments: arguments, descriptors: [(output.number, 1)]
        ).spawn()
        return (child, result)
    }

    /// How `child` ended, or nil while it runs.
    public static func ended(_ child: pid_t) -> Termination? {
        var status: Int32 = 0
        guard waitpid(child, &status, WNOHANG) == child else { return nil }
        return Termination(waitStatus: status)
    }

    /// Waits until `child` has ended.
    public static func wait(for child: pid_t) throws(SystemError) -> Termination {
        var status: Int32 = 0
        try retrying("waitpid", "\(child)") { Int(waitpid(child, &status, 0)) }
        return Termination(waitStatus: status)
    }

    /// Both ends of a pipe, close-on-exec.
    public static func pipe() throws(SystemError) -> (read: Descriptor, write: Descriptor) {
        var ends: [Int32] = [0, 0]
        try retrying("pipe", "") { Int(linux_pipe_cloexec(&ends)) }
        return (Descriptor(adopting: ends[0]), Descriptor(adopting: ends[1]))
    }
}
