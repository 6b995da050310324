// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol

/// A process's environment: NAME=VALUE each, in bytes.
struct Environment {
    private static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    private static let equals = UInt8(ascii: "=")

    private(set) var variables: [[UInt8]]

    /// What was asked for, with what every process has. Of two of the same name the last one counts.
    init(_ spec: ProcessSpec, home: String, hostname: String) {
        variables = []
        add("PATH", Self.defaultPath)
        add("HOSTNAME", hostname)
        if spec.terminal != nil { add("TERM", "xterm") }
        add("HOME", home)
        for variable in spec.environment { set(variable) }
    }

    private mutating func add(_ name: String, _ value: String) { set(Array("\(name)=\(value)".utf8)) }

    private mutating func set(_ variable: [UInt8]) {
        let name = variable.prefix { $0 != Self.equals }
        variables.removeAll { $0.prefix { $0 != Self.equals } == name }
        variables.append(variable)
    }

    func value(_ name: String) -> [UInt8]? {
        let prefix = Array("\(name)=".utf8)
        return variables.first { $0.starts(with: prefix) }.map { Array($0.dropFirst(prefix.count)) }
    }

    /// Where a program may be: the name itself if it has a slash, else one in each directory of PATH.
    func candidates(for program: [UInt8]) -> [[UInt8]] {
        let slash = UInt8(ascii: "/")
        if program.contains(slash) { return [program] }
        let directories = (value("PATH") ?? []).split(
            separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        // An empty directory is the working directory.
        return directories.map { ($0.isEmpty ? [UInt8(ascii: ".")] : Array($0)) + [slash] + program }
    }
}
