// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers
import PenumbraProtocol
import PenumbraSystem

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Print all that is known of containers.")

    @Option(
        name: [.short, .long],
        help: "A template such as '{{.State.ExitCode}}', in place of an array of JSON.")
    var format: String?

    @OptionGroup var place: MachineOption
    @OptionGroup var arguments: ContainerArguments

    func validate() throws { if let format { _ = try OutputTemplate(format) } }

    func run() throws {
        let options = format.map { ["--format", $0] } ?? []
        try GuestReport.exit(at: place, forwarding: ["inspect"] + options + arguments.containers) {
            let store = try Containers.store()
            var found: [JSON] = []
            let status = arguments.forEach { name in found.append(try store.find(name).json) }
            if let format {
                let template = try OutputTemplate(format)
                for container in found { try Output.print(try template.text(container)) }
            } else {
                try Output.print(JSON.array(found).indented)
            }
            return status
        }
    }
}

extension Container {
    /// Under docker's names.
    var json: JSON {
        .object([
            ("Id", .string(id.text)), ("Created", .string(configuration.created.description)),
            ("Path", .string(configuration.arguments.first ?? "")),
            ("Args", .array(configuration.arguments.dropFirst().map { .string($0) })),
            ("State", state.inspection), ("Image", .string(configuration.imageID)),
            ("Name", .string("/\(name)")), ("HostConfig", configuration.hostInspection),
            ("Config", configuration.inspection),
        ])
    }
}

extension ContainerState {
    /// Docker's for a moment that has not come.
    private static let never = "0001-01-01T00:00:00Z"

    fileprivate var inspection: JSON {
        var (process, started, finished) = (Int32(0), Self.never, Self.never)
        var exit: ContainerExit?
        switch self {
        case .created: break
        case .running(let since, let number, _): (process, started) = (number, since.description)
        case .exited(let ended):
            (started, finished, exit) = (ended.started.description, ended.finished.description, ended)
        }
        return .object([
            ("Status", .string(word)), ("Running", .boolean(isRunning)),
            ("OOMKilled", .boolean(exit?.isOutOfMemory ?? false)), ("Pid", .number(UInt64(process))),
            ("ExitCode", .number(UInt64(exit?.code ?? 0))), ("Error", .string(exit?.reason ?? "")),
            ("StartedAt", .string(started)), ("FinishedAt", .string(finished)),
        ])
    }
}

extension ContainerConfiguration {
    fileprivate var hostInspection: JSON {
        let capabilities = Capabilities(rawValue: capabilities)
        return .object([
            ("NetworkMode", .string(network.rawValue)), ("AutoRemove", .boolean(isRemovedAtEnd)),
            ("ReadonlyRootfs", .boolean(isReadOnly)), ("Memory", .number(memory)),
            ("NanoCpus", .number(UInt64(cpus) * 1_000_000_000)),
            ("CapAdd", .array(capabilities.subtracting(.standard).inspection)),
            ("CapDrop", .array(Capabilities.standard.subtracting(capabilities).inspection)),
            (
                "Ulimits",
                .array(
                    limits.map {
                        .object([
                            ("Name", .string($0.name)), ("Soft", .number($0.soft)),
                            ("Hard", .number($0.hard)),
                        ])
                    })
            ),
            (
                "Tmpfs",
                .object(
                    memoryMounts.map {
                        ($0.target, .string("size=\($0.limit),mode=\(String($0.permissions, radix: 8))"))
                    })
            ),
            (
                "Binds",
                .array(
                    volumeMounts.map {
                        .string("\($0.source.text):\($0.target)" + ($0.isReadOnly ? ":ro" : ""))
                    })
            ),
            (
                "LogConfig",
                .object([
                    ("Type", .string("json-file")),
                    (
                        "Config",
                        .object([
                            ("max-file", .string(String(logLimits.files))),
                            ("max-size", .string(String(logLimits.fileSize))),
                        ])
                    ),
                ])
            ),
            ("Kernel", .string(kernel)),
        ])
    }

    fileprivate var inspection: JSON {
        .object([
            ("Hostname", .string(hostname)), ("User", .string(user)), ("Tty", .boolean(hasTerminal)),
            ("OpenStdin", .boolean(keepsInputOpen)), ("Env", .array(environment.map { .string($0) })),
            ("Cmd", .array(command.map { .string($0) })), ("Image", .string(image)),
            ("WorkingDir", .string(directory)), ("Entrypoint", .array(entrypoint.map { .string($0) })),
            ("Labels", .object(labels.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
            ("StopSignal", .number(UInt64(stopSignal))),
        ])
    }
}

extension Capabilities {
    fileprivate var inspection: [JSON] {
        Self.names.filter { Capabilities(name: $0).map(isSuperset) ?? false }.map { .string("CAP_\($0)") }
    }
}
