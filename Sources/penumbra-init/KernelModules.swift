// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The modules that the initial RAM disk has beside the agent, all of the kernel that runs. They are
/// loaded when something needs them: each costs time at a container's start.
///
/// /modules/list has a line for each: its name, and the names of those that it needs, in their order.
/// What is not there is part of the kernel, or nothing this kernel knows. A "-" is a "_" in names.
struct KernelModules {
    private static let directory = "/modules"

    private var needs: [String: [String]] = [:]
    private var loaded: Set<String> = []

    init() {
        for line in (Files.text("\(Self.directory)/list") ?? "").split(separator: "\n") {
            let words = line.split(separator: " ").map { String($0) }
            needs[words[0]] = Array(words.dropFirst())
        }
    }

    /// Loads a module and what it needs.
    mutating func load(_ name: String) throws(AgentFailure) {
        let name = String(name.map { $0 == "-" ? "_" : $0 })
        // Before those it needs: a list in a circle comes to an end.
        guard let needed = needs[name], loaded.insert(name).inserted else { return }
        for other in needed { try load(other) }
        let path = "\(Self.directory)/\(name).ko"
        do throws(SystemError) {
            let file = try Descriptor(path: path, flags: O_RDONLY)
            try retrying("loading module", name) { Int(init_load_module(file.number)) }
        } catch {
            guard error.code != EEXIST else { return }
            throw AgentFailure(error)
        }
    }
}
