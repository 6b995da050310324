// SPDX-License-Identifier: Apache-2.0

/// What a running VM says of itself; on its socket, lines of "NAME VALUE".
public struct GuestStatus: Equatable, Sendable {
    public enum State: String, Sendable {
        case running
        /// It was asked to power off.
        case stopping
    }

    public var name: String
    public var process: Int32
    public var state: State
    /// In bytes.
    public var memory: UInt64
    /// What it was booted from.
    public var kernel: String
    /// Seconds since its start.
    public var age: UInt64

    public init(name: String, process: Int32, state: State, memory: UInt64, kernel: String, age: UInt64) {
        (self.name, self.process, self.state) = (name, process, state)
        (self.memory, self.kernel, self.age) = (memory, kernel, age)
    }

    var lines: [(String, String)] {
        [
            ("name", name), ("pid", String(process)), ("state", state.rawValue), ("memory", String(memory)),
            ("kernel", kernel), ("age", String(age)),
        ]
    }

    /// nil if a line is missing or makes no sense.
    init?(_ lines: [(String, String)]) {
        let values = Dictionary(lines, uniquingKeysWith: { first, _ in first })
        guard let name = values["name"], let process = values["pid"].flatMap({ Int32($0) }),
            let state = values["state"].flatMap({ State(rawValue: $0) }),
            let memory = values["memory"].flatMap({ UInt64($0) }), let kernel = values["kernel"],
            let age = values["age"].flatMap({ UInt64($0) })
        else { return nil }
        self.init(name: name, process: process, state: state, memory: memory, kernel: kernel, age: age)
    }
}
