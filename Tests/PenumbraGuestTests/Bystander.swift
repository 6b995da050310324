// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport

/// A VM that computes and checks what it computed for as long as others are attacked with.
final class Bystander {
    private let machine: TestMachine
    private let running: RunningProgram

    init(on machine: TestMachine) throws {
        self.machine = machine
        try machine.put(Tree.image("bystander"), at: "/tmp/bystander.elf")
        running = try machine.begin(
            "penumbra guest /tmp/bystander.elf & echo $! >/tmp/bystander.pid; wait $!")
    }

    /// Ends it; nil: it was right until then, else how it ended before.
    func end() throws -> String? {
        _ = try machine.shell("kill $(cat /tmp/bystander.pid)")
        let result = try running.finished()
        return result.status == 128 + SIGTERM
            ? nil : "the bystander: status \(result.status)\n\(result.output)\(result.errors)"
    }
}
