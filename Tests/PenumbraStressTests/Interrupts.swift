// SPDX-License-Identifier: Apache-2.0
import PenumbraTestSupport

/// Lines of /proc/interrupts: how often each CPU took a kind of interrupt.
struct Interrupts {
    private let counts: [String: [Int]]

    init(of machine: TestMachine) throws {
        var counts: [String: [Int]] = [:]
        for line in try machine.shell("cat /proc/interrupts").output.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard let name = words.first, name.hasSuffix(":") else { continue }
            counts[String(name.dropLast())] = words.dropFirst().prefix { Int($0) != nil }.map { Int($0)! }
        }
        self.counts = counts
    }

    /// The least that any CPU took since `before`.
    func least(_ kind: String, since before: Interrupts) -> Int {
        growth(kind, since: before).min() ?? 0
    }

    func growth(_ kind: String, since before: Interrupts) -> [Int] {
        zip(counts[kind] ?? [], before.counts[kind] ?? []).map { $0 - $1 }
    }
}
