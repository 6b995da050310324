// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The root file system of guests that `penumbra sandbox` starts: busybox, the scripts of guest-root/,
/// and the command, as an initramfs.
public struct GuestRoot: Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case badVariable(String)
        case badAddition(String)
        case zeroByte

        public var description: String {
            switch self {
            case .badVariable(let text):
                "'\(text)' sets no variable: use NAME=VALUE, with a NAME of letters, digits and '_'"
            case .badAddition(let text): "'\(text)' is no FILE:PATH with an absolute PATH"
            case .zeroByte: "a command's words hold no zero byte"
            }
        }
    }

    /// The program and its arguments, in whatever encoding.
    public var command: [[UInt8]]
    /// NAME=VALUE each.
    public var environment: [String] = []
    public var directory = "/root"
    /// The guest's console is a terminal that somebody types at.
    public var hasTerminal = false
    /// FILE:PATH each: more files, from here to there.
    public var additions: [String] = []

    public init(command: [[UInt8]]) { self.command = command }

    /// Refuses what `build` would refuse, as far as it can be told without looking at files.
    public func check() throws(Problem) {
        _ = try script()
        for text in additions { _ = try Self.addition(text) }
    }

    public func build(_ installation: Installation) throws -> [UInt8] {
        var archive = CpioArchive()
        for directory in ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr"] {
            archive.addDirectory(directory)
        }
        // What the kernel opens for init, before there is a devtmpfs.
        archive.addCharacterDevice("dev/console", major: 5, minor: 1)
        for path in ["init", "sbin/session", "sbin/end", "sbin/poweroff"] {
            archive.addFile(path, try Self.file("guest-root/\(path)", installation), permissions: 0o755)
        }
        archive.addFile("bin/busybox", try Files.read(try Self.busybox()), permissions: 0o755)
        if let programs = installation.find("build/guest-root", "guest-programs") {
            for name in Files.list(programs) {
                archive.addFile("bin/\(name)", try Files.read("\(programs)/\(name)"), permissions: 0o755)
            }
        }
        archive.addFile("penumbra/command", try script())
        if hasTerminal { archive.addFile("penumbra/terminal", []) }
        for text in additions {
            let (file, path) = try Self.addition(text)
            archive.addFile(
                path, try Files.read(file), permissions: access(file, X_OK) == 0 ? 0o755 : 0o644)
        }
        return archive.finished()
    }

    private static func file(_ path: String, _ installation: Installation) throws -> [UInt8] {
        guard let found = installation.find(path) else {
            throw MachineError.missing(
                what: "a part of the guest's root", path: path,
                remedy: "run penumbra from its source tree or install it with 'make install'")
        }
        return try Files.read(found)
    }

    static func busybox() throws(MachineError) -> String {
        guard let path = Files.program("busybox") else {
            throw .missing(what: "busybox", path: "PATH", remedy: "install Debian's package busybox-static")
        }
        return path
    }

    private static func addition(_ text: String) throws(Problem) -> (file: String, path: String) {
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            text[text.index(after: colon)...].hasPrefix("/")
        else { throw .badAddition(text) }
        return (String(text[..<colon]), String(text[text.index(after: colon)...]))
    }

    // MARK: The command

    /// A script that becomes the command. Its process id is left where /sbin/poweroff looks.
    func script() throws(Problem) -> [UInt8] {
        var text = Array("echo $$ > /run/command\n".utf8)
        for variable in environment {
            let parts = variable.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, Self.isName(parts[0]) else { throw .badVariable(variable) }
            text += Array("export \(parts[0])=".utf8) + Self.quoted(Array(parts[1].utf8)) + [Self.newline]
        }
        text += Array("cd ".utf8) + Self.quoted(Array(directory.utf8)) + Array(" || exit 125\n".utf8)
        text += Array("exec --".utf8)
        for word in command { text += [UInt8(ascii: " ")] + Self.quoted(word) }
        text.append(Self.newline)
        guard !text.contains(0) else { throw .zeroByte }
        return text
    }

    private static let newline = UInt8(ascii: "\n")

    private static func isName(_ name: Substring) -> Bool {
        let isWord = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return isWord && !name.isEmpty && !name.first!.isNumber
    }

    /// A word that the shell takes as it is: between single quotes nothing is special but the quote.
    private static func quoted(_ word: [UInt8]) -> [UInt8] {
        let quote = UInt8(ascii: "'")
        return [quote] + word.flatMap { $0 == quote ? Array("'\\''".utf8) : [$0] } + [quote]
    }
}
