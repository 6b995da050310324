// SPDX-License-Identifier: Apache-2.0
import PenumbraJail
import PenumbraSystem

/// What a monitor has done in its container's directory, which it cannot enter once it is jailed. It says a
/// word to its keeper and waits for the answer:
///
///     log                         -> a descriptor of the log's next file, or why there is none
///     the container's end, JSON   -> an acknowledgement: it is written down
///
/// A keeper that cannot write the end down leaves, and so the monitor ends too.
public struct ContainerKeeper {
    let record: (ContainerExit) throws -> Void
    let succeedLog: () throws(SystemError) -> Descriptor

    /// Of a monitor that is not jailed.
    init(of files: ContainerFiles, _ limits: LogLimits) {
        record = { try files.write(end: $0) }
        succeedLog = { () throws(SystemError) in try files.log.begin(keeping: limits.files) }
    }

    /// At the other end of the line.
    init(at line: Descriptor, of name: String) {
        record = { exit in
            guard try line.tellKeeper(ContainerState.exited(exit).json.text) else {
                throw ContainerError.unrecorded(name)
            }
        }
        succeedLog = { () throws(SystemError) in try line.askKeeper(Word.logText) }
    }

    /// As the keeper takes it. The monitor may be its guest's by now.
    enum Word {
        fileprivate static let logText = "log"

        case log
        case end(ContainerExit)

        init(_ text: [UInt8]) throws {
            if text == Array(Self.logText.utf8) {
                self = .log
                return
            }
            guard case .exited(let exit) = try ContainerState(JSON(parsing: text)) else {
                throw JSONField.Problem("status", "is no end")
            }
            self = .end(exit)
        }
    }
}
