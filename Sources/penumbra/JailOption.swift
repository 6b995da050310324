// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraJail
import PenumbraSystem

struct JailOption: ParsableArguments {
    @Flag(
        name: .customLong("no-jail"),
        help: "For debugging: the VM's process keeps all rights of its user.")
    var isOff = false

    /// Once more, for the penumbra in the machine.
    var words: [String] { isOff ? ["--no-jail"] : [] }
}

/// Runs a VM in this process, which is jailed when the VM starts, with a keeper beside it (JailedProcess);
/// or, by --no-jail, is not.
struct GuestProcess {
    /// Where a bug of the core's is told, at the VM's end.
    typealias Explanation = (CoreLocation) -> Void

    let option: JailOption
    /// Explains a bug of the core's, by files and programs that a jailed process does not reach.
    let explain: Explanation

    /// `body` runs the VM; behind this process's end `afterwards` is done.
    func run(_ body: (@escaping Explanation) throws -> Int32, afterwards: () -> Void = {}) throws -> Int32 {
        guard !option.isOff else {
            Output.note("--no-jail: the VM's process keeps all rights of its user")
            return try body(explain)
        }
        switch try JailedProcess.fork(jailing: .parent) {
        case .jailed(let keeper):
            return try body { location in
                do { _ = try keeper.tellKeeper(location.announcement) } catch {
                    Output.note("nobody is there to explain it: \(error)")
                }
            }
        case .keeper(let process):
            keep(process)
            afterwards()
            _exit(0)
        }
    }

    /// To the VM's end.
    private func keep(_ process: JailedProcess) {
        // From a process that may be its guest's: an address and a build id, or nothing.
        while let word = try? process.word(),
            let location = CoreLocation(announcement: String(decoding: word, as: UTF8.self))
        {
            explain(location)
            guard (try? process.acknowledge()) != nil else { return }
        }
    }
}
