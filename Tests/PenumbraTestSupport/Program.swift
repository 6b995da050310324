// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The repository that these tests were built from, and the programs that `make build` left.
public enum Tree {
    public static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    public static let penumbra = root.appending(path: "build/penumbra")
    public static let guests = root.appending(path: "guests")
    public static func image(_ name: String) -> URL { root.appending(path: "build/guests/\(name).elf") }
}

/// What a finished program left.
public struct Finished: Sendable {
    public let status: Int32
    public let output: String
    public let errors: String

    public init(status: Int32, output: String, errors: String) {
        self.status = status
        self.output = output
        self.errors = errors
    }
}

/// Runs the built `penumbra`, as a user would.
@discardableResult
public func penumbra(_ arguments: String...) throws -> Finished { try penumbra(arguments) }

@discardableResult
public func penumbra(_ arguments: [String]) throws -> Finished {
    try RunningProgram(Tree.penumbra, arguments).finished()
}

/// A program that runs beside the test, in the tree's root; killed with the value.
public final class RunningProgram {
    private let process = Process()
    private let output: TemporaryFile
    private let errors: TemporaryFile

    public init(_ program: URL, _ arguments: [String]) throws {
        output = try TemporaryFile()
        errors = try TemporaryFile()
        process.executableURL = program
        process.arguments = arguments
        process.currentDirectoryURL = Tree.root
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output.handle
        process.standardError = errors.handle
        try process.run()
    }

    public var isRunning: Bool { process.isRunning }

    /// What it has written by now.
    public func outputSoFar() throws -> String { try output.text() }

    public func finished() throws -> Finished {
        process.waitUntilExit()
        return Finished(
            status: process.terminationStatus, output: try output.text(), errors: try errors.text())
    }

    deinit { if process.isRunning { process.terminate() } }
}

/// A file that goes with the value; unlike a pipe it cannot fill up.
private final class TemporaryFile {
    private let url = FileManager.default.temporaryDirectory.appending(
        path: "penumbra-test-\(UUID().uuidString)")
    let handle: FileHandle

    init() throws {
        try Data().write(to: url)
        handle = try FileHandle(forWritingTo: url)
    }

    func text() throws -> String { String(decoding: try Data(contentsOf: url), as: UTF8.self) }

    deinit { try? FileManager.default.removeItem(at: url) }
}
