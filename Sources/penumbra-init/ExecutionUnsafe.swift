// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraProtocol

/// The last step of a child.
enum Execution {
    /// Becomes the program, or says why not. A zero byte ends a word, here as everywhere.
    static func run(_ arguments: [[UInt8]], _ environment: Environment) -> AgentFailure {
        guard let program = arguments.first, !program.isEmpty else {
            return AgentFailure(.setup, "a process without a program cannot be started: name one")
        }
        let words = cStrings(arguments)
        let variables = cStrings(environment.variables)
        var failure = ENOENT
        for candidate in environment.candidates(for: program) {
            execve(cString(candidate), words, variables)
            // A directory that may not be searched hides nothing behind it, as in a shell.
            if errno != ENOENT && errno != ENOTDIR { failure = errno }
        }
        return self.failure(String(decoding: program, as: UTF8.self), failure)
    }

    private static func failure(_ program: String, _ code: Int32) -> AgentFailure {
        if code == ENOENT {
            return AgentFailure(
                .notFound,
                "\(program): not found in the container, or its interpreter is not; check the command")
        }
        return AgentFailure(.notExecutable, "\(program): \(String(cString: strerror(code)))")
    }

    /// Lives as long as the child: it ends here, or as another program.
    private static func cString(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar> {
        let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
        for (index, byte) in bytes.enumerated() { pointer[index] = CChar(bitPattern: byte) }
        pointer[bytes.count] = 0
        return pointer
    }

    private static func cStrings(_ strings: [[UInt8]]) -> [UnsafeMutablePointer<CChar>?] {
        strings.map { cString($0) } + [nil]
    }
}
