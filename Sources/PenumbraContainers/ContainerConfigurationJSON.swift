// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// config.json. A file of a later version is refused, not guessed at.
extension ContainerConfiguration {
    private static let version: UInt64 = 1

    var json: JSON {
        .object([
            ("version", .number(Self.version)), ("id", .string(id.text)), ("name", .string(name.text)),
            ("created", .string(created.description)), ("image", .string(image)),
            ("imageID", .string(imageID)), ("entrypoint", .strings(entrypoint)),
            ("command", .strings(command)), ("environment", .strings(environment)),
            ("directory", .string(directory)), ("user", .string(user)), ("hostname", .string(hostname)),
            ("hasTerminal", .boolean(hasTerminal)), ("keepsInputOpen", .boolean(keepsInputOpen)),
            ("stopSignal", .number(UInt64(stopSignal))), ("limits", .array(limits.map(\.json))),
            ("capabilities", .number(capabilities)), ("isReadOnly", .boolean(isReadOnly)),
            ("memoryMounts", .array(memoryMounts.map(\.json))),
            ("volumeMounts", .array(volumeMounts.map(\.json))), ("network", .string(network.rawValue)),
            ("publishedPorts", .strings(publishedPorts)), ("memory", .number(memory)),
            ("cpus", .number(UInt64(cpus))), ("kernel", .string(kernel)), ("logLimits", logLimits.json),
            ("labels", .labels(labels)), ("isRemovedAtEnd", .boolean(isRemovedAtEnd)),
        ])
    }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        guard try field.number("version") == Self.version else {
            throw JSONField.Problem("version", "is not \(Self.version)")
        }
        self.init(
            id: try field.parsed("id", ContainerID.init),
            name: try field.parsed("name") { try? ContainerName($0) },
            created: try field.parsed("created") { Timestamp($0) }, image: try field.text("image"),
            imageID: try field.text("imageID"), entrypoint: try field.texts("entrypoint"),
            command: try field.texts("command"), memory: try field.number("memory"),
            kernel: try field.text("kernel"))
        environment = try field.texts("environment")
        directory = try field.text("directory")
        user = try field.text("user")
        hostname = try field.text("hostname")
        hasTerminal = try field.flag("hasTerminal")
        keepsInputOpen = try field.flag("keepsInputOpen")
        stopSignal = Int32(truncatingIfNeeded: try field.number("stopSignal"))
        limits = try field.list("limits") { (json) throws(JSONField.Problem) in try Limit(json) }
        capabilities = try field.number("capabilities")
        isReadOnly = try field.flag("isReadOnly")
        memoryMounts = try field.list("memoryMounts") { (json) throws(JSONField.Problem) in
            try MemoryMount(json)
        }
        volumeMounts = try field.list("volumeMounts") { (json) throws(JSONField.Problem) in
            try VolumeMount(json)
        }
        network = try field.parsed("network") { Network(rawValue: $0) }
        publishedPorts = try field.texts("publishedPorts")
        // Containers of before there were limits have none written down.
        if let limits = field.json["logLimits"] { logLimits = try LogLimits(limits) }
        labels = try field.labels("labels")
        // Containers that were made before there was a choice have one.
        cpus = field.json["cpus"] == nil ? 1 : Int(clamping: try field.number("cpus"))
        isRemovedAtEnd = try field.flag("isRemovedAtEnd")
    }
}

extension ContainerConfiguration.Limit {
    var json: JSON { .object([("name", .string(name)), ("soft", .number(soft)), ("hard", .number(hard))]) }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        self.init(
            name: try field.text("name"), soft: try field.number("soft"), hard: try field.number("hard"))
    }
}

extension LogLimits {
    var json: JSON { .object([("fileSize", .number(fileSize)), ("files", .number(UInt64(files)))]) }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        self.init(fileSize: try field.number("fileSize"), files: 1)
        guard let files = Int(exactly: try field.number("files")), files > 0 else {
            throw JSONField.Problem("files", "is no number of files")
        }
        self.files = files
    }
}

extension ContainerConfiguration.MemoryMount {
    var json: JSON {
        .object([
            ("target", .string(target)), ("limit", .number(limit)),
            ("permissions", .number(UInt64(permissions))),
        ])
    }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        self.init(
            target: try field.text("target"), limit: try field.number("limit"),
            permissions: UInt32(truncatingIfNeeded: try field.number("permissions")))
    }
}

extension ContainerConfiguration.VolumeMount {
    var json: JSON {
        .object([
            ("source", .string(source.text)), ("target", .string(target)),
            ("isReadOnly", .boolean(isReadOnly)),
        ])
    }

    init(_ json: JSON) throws(JSONField.Problem) {
        let field = JSONField(json)
        self.init(
            try field.parsed("source", Source.init), target: try field.text("target"),
            isReadOnly: try field.flag("isReadOnly"))
    }
}

extension ContainerConfiguration.VolumeMount.Source {
    /// An absolute path, or a volume's name: what begins with a slash is no name.
    public var text: String {
        switch self {
        case .directory(let path): path
        case .volume(let name): name.text
        }
    }

    /// nil: neither.
    public init?(_ text: String) {
        if text.hasPrefix("/") {
            self = .directory(text)
        } else if let name = try? VolumeName(text) {
            self = .volume(name)
        } else {
            return nil
        }
    }
}

extension JSON {
    static func strings(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    /// In the order of their names, so that equal containers have equal files.
    static func labels(_ labels: [String: String]) -> JSON {
        .object(labels.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })
    }
}

/// The members of an object that must be there and of a kind.
struct JSONField {
    struct Problem: Error, Equatable, CustomStringConvertible {
        let member: String
        let reason: String

        init(_ member: String, _ reason: String) { (self.member, self.reason) = (member, reason) }

        var description: String { "'\(member)' \(reason)" }
    }

    let json: JSON

    init(_ json: JSON) { self.json = json }

    private func required<Value>(_ name: String, _ value: Value?) throws(Problem) -> Value {
        guard let value else { throw Problem(name, "is missing or of another kind") }
        return value
    }

    func text(_ name: String) throws(Problem) -> String { try required(name, json[name]?.string) }
    func number(_ name: String) throws(Problem) -> UInt64 { try required(name, json[name]?.number) }
    func flag(_ name: String) throws(Problem) -> Bool { try required(name, json[name]?.boolean) }

    func texts(_ name: String) throws(Problem) -> [String] {
        try list(name) { (value) throws(Problem) in try required(name, value.string) }
    }

    func list<Element>(
        _ name: String, _ element: (JSON) throws(Problem) -> Element
    ) throws(Problem) -> [Element] {
        var elements: [Element] = []
        for value in try required(name, json[name]?.array) { elements.append(try element(value)) }
        return elements
    }

    func labels(_ name: String) throws(Problem) -> [String: String] {
        var labels: [String: String] = [:]
        for member in try required(name, json[name]?.members) {
            labels[member.name] = try required(name, member.value.string)
        }
        return labels
    }

    func parsed<Value>(_ name: String, _ parse: (String) -> Value?) throws(Problem) -> Value {
        try required(name, parse(try text(name)))
    }
}
