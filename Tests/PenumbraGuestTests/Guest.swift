// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// What a micro-guest's head says of it (guests/README.md).
struct Guest {
    enum Expectation: Equatable {
        case exit(Int32)
        case crash(String)
        case timeout
    }

    struct Malformed: Error, CustomStringConvertible {
        let description: String
    }

    /// Below guests/, as "xenpv/panic".
    let name: String
    let expectation: Expectation
    var needsDebug = false
    var options: [String] = []

    init(named name: String, head: String) throws {
        let lines = head.split(separator: "\n")
        let expected = lines.compactMap { Self.words(after: "// Expect: ", in: $0) }.first
        guard let expectation = expected.flatMap(Self.expectation) else {
            throw Malformed(description: "guests/\(name).swift does not say what to expect")
        }
        self.name = name
        self.expectation = expectation
        for need in lines.flatMap({ Self.words(after: "// Needs: ", in: $0) ?? [] }) { try add(need) }
    }

    private static func words(after prefix: String, in line: Substring) -> [String]? {
        guard line.hasPrefix(prefix) else { return nil }
        return line.dropFirst(prefix.count).split(whereSeparator: { $0 == " " || $0 == "," }).map(String.init)
    }

    private static func expectation(_ words: [String]) -> Expectation? {
        switch words.first {
        case "exit": words.dropFirst().first.flatMap { Int32($0) }.map { .exit($0) }
        case "crash": words.dropFirst().first.map { .crash($0) }
        case "timeout": .timeout
        default: nil
        }
    }

    private mutating func add(_ need: String) throws {
        let parts = need.split(separator: "=", maxSplits: 1).map(String.init)
        switch (parts[0], parts.dropFirst().first) {
        case ("debug", nil): needsDebug = true
        case ("restricted", nil): options.append("--restricted")
        case ("cpus", let value?): options.append("--cpus=\(value)")
        case ("memory", let value?): options.append("--memory=\(value)")
        case ("args", let value?): options.append("--cmdline=\(value)")
        default: throw Malformed(description: "guests/\(name).swift needs '\(need)', which nobody knows")
        }
    }

    /// A kernel for Xen PV, which `penumbra boot` starts; all others are of the test personality.
    var isXenPV: Bool { name.hasPrefix(Self.xenPVDirectory) }
    private static let xenPVDirectory = "xenpv/"

    /// Every guest of the tree, by name.
    static func all() throws -> [Guest] { try all(below: "") + all(below: xenPVDirectory) }

    private static func all(below directory: String) throws -> [Guest] {
        let folder = Tree.guests.appending(path: directory)
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "swift" }
            .sorted { $0.path < $1.path }
            .map { file in
                let name = directory + file.deletingPathExtension().lastPathComponent
                return try Guest(named: name, head: String(contentsOf: file, encoding: .utf8))
            }
    }

    /// Runs it in a machine; nil: as expected, else what was wrong.
    func run(on machine: TestMachine, debugCore: Bool, restricted: Bool) throws -> String? {
        var words = isXenPV ? ["boot", "--memory=16M", "--kernel"] : ["guest"]
        words += [Tree.image(name).path, "--machine", machine.name]
        words += ["--timeout", expectation == .timeout ? "3" : "120"] + options
        if debugCore { words.append("--debug") }
        if restricted { words.append("--restricted") }
        let result = try penumbra(words)
        return judge(result).map {
            "\(name)\(restricted ? " (restricted)" : ""): \($0)\(machine.anatomy(after: result))"
        }
    }

    func judge(_ result: Finished) -> String? {
        let seen = "status \(result.status)\n\(result.output)\(result.errors)"
        switch expectation {
        case .exit(let status):
            return result.status == status ? nil : "expected exit \(status), got \(seen)"
        case .timeout:
            return result.status == 124 ? nil : "expected to run until stopped, got \(seen)"
        case .crash(let reason):
            let isCrash = result.status == 70 || result.status == 71
            return isCrash && result.errors.contains("crash: \(reason) ")
                ? nil : "expected crash \(reason), got \(seen)"
        }
    }
}
