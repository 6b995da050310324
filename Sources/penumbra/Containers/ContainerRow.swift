// SPDX-License-Identifier: Apache-2.0
import PenumbraContainers
import PenumbraSystem
import PenumbraVMM

/// A container, or another VM, as a line of `penumbra ps`; docker's columns.
struct ContainerRow: Equatable {
    private static let commandWidth = 20

    let id: String
    let image: String
    let command: String
    let created: Timestamp
    /// "2 hours ago"
    let age: String
    let state: String
    /// "Up 5 minutes"
    let status: String
    /// "0.0.0.0:8080->80/tcp"
    let ports: String
    let name: String
    let labels: String

    static func rows(_ containers: [Container], now: Timestamp, isWhole: Bool) -> [ContainerRow] {
        containers.map { ContainerRow($0, now: now, isWhole: isWhole) }
    }

    init(_ container: Container, now: Timestamp, isWhole: Bool) {
        let configuration = container.configuration
        id = isWhole ? container.id.text : container.id.short
        image = configuration.image
        command = Self.quoted(configuration.arguments.joined(separator: " "), isWhole: isWhole)
        created = configuration.created
        age = Age.text(from: configuration.created, to: now)
        state = container.state.word
        status = Self.status(container.state, now)
        ports = container.state.isRunning ? Self.ports(configuration.publishedPorts) : ""
        name = container.name
        labels = configuration.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            .joined(separator: ",")
    }

    /// A VM that is no container has no id.
    init(_ guest: GuestStatus, now: Timestamp) {
        id = "-"
        image = guest.kernel
        command = "-"
        created = Timestamp(seconds: now.seconds - Int64(clamping: guest.age))
        age = Age.text(from: created, to: now)
        state = guest.state.rawValue
        status = "Up \(Self.duration(age))"
        ports = ""
        name = guest.name
        labels = ""
    }

    /// What leads to the container: of each port without an address, all of the host's.
    static func ports(_ published: [String]) -> String {
        published.compactMap { PublishedPort($0) }.flatMap { port in
            (port.address.map { [$0] } ?? ["0.0.0.0", "::"]).map { address in
                let host = address.contains(":") ? "[\(address)]" : address
                return "\(host):\(port.host)->\(port.guest)/\(port.transport)"
            }
        }.joined(separator: ", ")
    }

    /// In quotes; what is no printing character is a '?', as commands are anybody's.
    private static func quoted(_ command: String, isWhole: Bool) -> String {
        let printable = String(command.map { $0.isASCII && $0 >= " " && $0 <= "~" || $0.isLetter ? $0 : "?" })
        guard !isWhole, printable.count > commandWidth else { return "\"\(printable)\"" }
        return "\"\(printable.prefix(commandWidth - 1))…\""
    }

    static func status(_ state: ContainerState, _ now: Timestamp) -> String {
        switch state {
        case .created: "Created"
        case .running(let since, _, _): "Up \(duration(Age.text(from: since, to: now)))"
        case .exited(let exit): "Exited (\(exit.code)) \(Age.text(from: exit.finished, to: now))"
        }
    }

    private static func duration(_ age: String) -> String {
        age.hasSuffix(" ago") ? String(age.dropLast(4)) : age
    }

    var json: JSON {
        .object([
            ("ID", .string(id)), ("Image", .string(image)), ("Command", .string(command)),
            ("CreatedAt", .string(created.description)), ("RunningFor", .string(age)),
            ("State", .string(state)), ("Status", .string(status)), ("Ports", .string(ports)),
            ("Names", .string(name)),
            ("Labels", .string(labels)),
        ])
    }

    static func table(_ rows: [ContainerRow]) -> String {
        Table.text(
            [["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]]
                + rows.map { [$0.id, $0.image, $0.command, $0.age, $0.status, $0.ports, $0.name] })
    }
}
