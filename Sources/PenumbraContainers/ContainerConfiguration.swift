// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// What a container was created with. It never changes; on disk it is config.json.
public struct ContainerConfiguration: Equatable, Sendable {
    public enum Network: String, CaseIterable, Sendable {
        /// The loopback interface only.
        case none
        /// This user's own network, through passt(1).
        case user
    }

    /// An empty file system in the guest's memory.
    public struct MemoryMount: Equatable, Sendable {
        public var target: String
        /// In bytes; 0: up to half of the guest's memory.
        public var limit: UInt64
        public var permissions: UInt32

        public init(target: String, limit: UInt64 = 0, permissions: UInt32 = 0o1777) {
            (self.target, self.limit, self.permissions) = (target, limit, permissions)
        }
    }

    /// A directory of the host's, or a volume (`VolumeStore`), within the container.
    public struct VolumeMount: Equatable, Sendable {
        public enum Source: Equatable, Sendable {
            case directory(String)
            case volume(VolumeName)
        }

        public var source: Source
        public var target: String
        public var isReadOnly: Bool

        public init(_ source: Source, target: String, isReadOnly: Bool = false) {
            (self.source, self.target, self.isReadOnly) = (source, target, isReadOnly)
        }
    }

    public struct Limit: Equatable, Sendable {
        /// As setrlimit(2) calls it, in lower case: "nofile".
        public var name: String
        public var soft: UInt64
        public var hard: UInt64

        public init(name: String, soft: UInt64, hard: UInt64) {
            (self.name, self.soft, self.hard) = (name, soft, hard)
        }
    }

    public var id: ContainerID
    public var name: ContainerName
    public var created: Timestamp
    /// What the user called the image, and what it is.
    public var image: String
    public var imageID: String

    /// The image's and the user's command in one: the program first.
    public var entrypoint: [String]
    public var command: [String]
    public var environment: [String] = []
    public var directory = "/"
    public var user = ""
    public var hostname: String
    public var hasTerminal = false
    /// Standard input stays open while nobody is attached.
    public var keepsInputOpen = false
    public var stopSignal: Int32 = 15
    public var limits: [Limit] = []
    /// Bits by capabilities(7)' numbers.
    public var capabilities: UInt64

    public var isReadOnly = false
    public var memoryMounts: [MemoryMount] = []
    public var volumeMounts: [VolumeMount] = []
    public var network = Network.none
    /// As the user wrote them: "8080:80".
    public var publishedPorts: [String] = []

    /// The guest's, in bytes.
    public var memory: UInt64
    public var cpus = 1
    /// The digest of a kernel bundle.
    public var kernel: String
    public var logLimits = LogLimits.standard
    public var labels: [String: String] = [:]
    public var isRemovedAtEnd = false

    public init(
        id: ContainerID, name: ContainerName, created: Timestamp, image: String, imageID: String,
        entrypoint: [String], command: [String], memory: UInt64, kernel: String
    ) {
        (self.id, self.name, self.created) = (id, name, created)
        (self.image, self.imageID) = (image, imageID)
        (self.entrypoint, self.command) = (entrypoint, command)
        (self.memory, self.kernel) = (memory, kernel)
        hostname = id.short
        capabilities = Capabilities.standard.rawValue
    }

    public var arguments: [String] { entrypoint + command }

    /// The main process, as the agent is told.
    public func process(terminal: TerminalSize?) -> ProcessSpec {
        var process = ProcessSpec(arguments: arguments.map { Array($0.utf8) })
        process.environment = environment.map { Array($0.utf8) }
        process.directory = directory
        process.user = user
        process.terminal = hasTerminal ? terminal ?? TerminalSize(rows: 24, columns: 80) : nil
        process.limits = limits.compactMap { limit in
            ResourceLimit.Resource.allCases.first { $0.name == limit.name }.map {
                ResourceLimit($0, soft: limit.soft, hard: limit.hard)
            }
        }
        process.capabilities = Capabilities(rawValue: capabilities)
        return process
    }
}
