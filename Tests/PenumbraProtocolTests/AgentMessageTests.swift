// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem
import Testing

@Suite struct AgentMessageTests {
    private static let session = AgentSession(rawValue: 7)

    private static var container: ContainerSpec {
        var spec = ContainerSpec(
            hostname: "web",
            root: RootSpec(
                image: .disk(device: "xvda", type: "squashfs"), changes: .disk(device: "xvdb", type: "ext4"),
                isReadOnly: true))
        spec.mounts = [
            MountSpec(.memory(limit: 1 << 20, permissions: 0o1777), at: "/run"),
            MountSpec(.disk(device: "xvdc", type: "ext4"), at: "/data", isReadOnly: true),
            MountSpec(.share(tag: "v0"), at: "/ä b"),
        ]
        spec.files = [FileSpec(path: "/etc/hosts", content: [0, 255, 10], permissions: 0o600)]
        spec.network = NetworkSpec(
            addresses: [
                NetworkSpec.Address([10, 0, 2, 15], prefixLength: 24),
                NetworkSpec.Address([UInt8](repeating: 0xfe, count: 16), prefixLength: 128),
            ], gateways: [[10, 0, 2, 2]], mtu: 65520)
        return spec
    }

    private static var process: ProcessSpec {
        var spec = ProcessSpec("sh", "-c", "echo ä")
        spec.arguments.append([255, 254])
        spec.environment = [Array("A=".utf8), [66, 61, 200]]
        spec.directory = "/tmp"
        spec.user = "nobody:4"
        spec.terminal = TerminalSize(rows: 24, columns: 80)
        spec.limits = [ResourceLimit(.nofile, soft: 10, hard: ResourceLimit.unlimited)]
        spec.capabilities = .all
        spec.hasNoNewPrivileges = true
        return spec
    }

    static let all: [AgentMessage] = [
        .hello(version: 1, kernel: "6.1.0"), .welcome(version: 1), .configure(container),
        .configure(
            ContainerSpec(hostname: "", root: RootSpec(image: .directory("/x"), changes: .memory(limit: 9)))),
        .configured, .configurationFailed("no disk"), .start(session, process),
        .start(.main, ProcessSpec("a")),
        .pack(session, path: [47, 255], followsLink: true), .unpack(session, path: [47], .target),
        .started(session),
        .input(session, [1, 2, 3]), .inputEnd(session), .output(session, .standard, [9]),
        .output(session, .error, []), .credit(session, 65536),
        .resize(session, TerminalSize(rows: 1, columns: 2)),
        .signal(session, 15), .terminated(session, .exited(255), outOfMemory: false),
        .terminated(.main, .killed(signal: 9), outOfMemory: true),
        .failed(session, AgentFailure(.notFound, "no such program")), .powerOff,
    ]

    @Test(arguments: all) func whatIsWrittenIsRead(_ message: AgentMessage) throws {
        #expect(try AgentMessage(message.frame) == message)
    }

    /// Fields of variable length at the end may be shortened; of all others each byte is missed.
    @Test(arguments: all.filter { $0.endsWithAField }) func shortenedAndLengthenedFramesAreRefused(
        _ message: AgentMessage
    ) {
        let frame = message.frame
        for count in 0..<frame.payload.count {
            #expect(throws: ProtocolError.damaged(type: frame.type)) {
                try AgentMessage(Frame(type: frame.type, payload: Array(frame.payload.prefix(count))))
            }
        }
        #expect(throws: ProtocolError.damaged(type: frame.type)) {
            try AgentMessage(Frame(type: frame.type, payload: frame.payload + [0]))
        }
    }

    @Test(arguments: [UInt8(0), 20, 255]) func unknownTypesAreRefused(_ type: UInt8) {
        #expect(throws: ProtocolError.unknownType(type)) { try AgentMessage(Frame(type: type, payload: [])) }
    }

    /// Every byte of the largest messages, turned over: read as something else or refused, never a crash.
    @Test(arguments: [AgentMessage.configure(container), .start(session, process)])
    func damagedBytesDoNoHarm(_ message: AgentMessage) {
        let frame = message.frame
        var refused = 0
        for index in frame.payload.indices {
            var payload = frame.payload
            payload[index] ^= 0xff
            if (try? AgentMessage(Frame(type: frame.type, payload: payload))) == nil { refused += 1 }
        }
        #expect(refused > 0)
    }

    @Test func addressesOfOtherLengthsAreRefused() {
        var spec = Self.container
        spec.network?.addresses = [NetworkSpec.Address([1, 2, 3], prefixLength: 8)]
        let frame = AgentMessage.configure(spec).frame
        #expect(throws: ProtocolError.damaged(type: frame.type)) { try AgentMessage(frame) }
    }

    @Test func creditIsSpentAndGivenBack() {
        var credit = Credit()
        let results = [
            credit.spend(AgentMessage.window), credit.spend(1), credit.give(5), credit.spend(5),
            credit.give(AgentMessage.window + 1), credit.give(-1), credit.give(AgentMessage.window),
        ]
        #expect(results == [true, false, true, true, false, false, true])
        #expect(credit == Credit())
    }
}

extension AgentMessage {
    fileprivate var endsWithAField: Bool {
        switch self {
        case .input, .output: false
        default: true
        }
    }
}
