// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraJail
import PenumbraSystem

let createVM = UInt64(PENUMBRA_IOCTL_CREATE_VM.rawValue)
let runGuest = UInt64(PENUMBRA_IOCTL_RUN.rawValue)
let notifyGuest = UInt64(PENUMBRA_IOCTL_POST.rawValue)

/// A VM's process that misbehaves: shuts itself in as one does, and tries something. What it prints, if
/// it lives, is the kernel's answer; an attempt that is refused in some other way ends it.
///
///     jail-probe DIRECTORY ATTEMPT [ROLE]     DIRECTORY: to build the root on
///     jail-probe DIRECTORY share SHARED NAME  opens SHARED/NAME as a share's server would
///     jail-probe DIRECTORY live               does what a VM's process does
///     jail-probe DIRECTORY status             has its keeper print what the kernel says of it
///     jail-probe list                         the attempts' names
@main
struct Probe {
    private static let output = Descriptor(adopting: STDOUT_FILENO)

    static func main() {
        signal(SIGPIPE, SIG_IGN)
        let words = Array(CommandLine.arguments.dropFirst())
        if words == ["list"] { return say(attempts.map(\.name).joined(separator: "\n")) }
        do {
            switch words[1] {
            case "live": try live(words[0])
            case "status": try status(words[0])
            case "share": try share(words[0], words[2], words[3])
            default: try attempt(words[0], words[1], role: words.count > 2 ? words[2] : nil)
            }
        } catch {
            say("failed: \(error)")
            exit(1)
        }
    }

    private static func attempt(_ directory: String, _ name: String, role: String?) throws {
        let attempt = attempts.first { $0.name == name }!
        try Jail(sharing: [], at: directory).close(keptBy: .parent)
        if let role { ThreadRole.allCases.first { "\($0)" == role }!.confine() }
        say("answer \(attempt.run())")
    }

    private static func share(_ directory: String, _ shared: String, _ name: String) throws {
        let jail = try Jail(sharing: [Jail.Directory(shared, isReadOnly: false)], at: directory)
        let root = try Descriptor(path: jail.directories[0].path, flags: O_RDONLY | O_DIRECTORY)
        try jail.close(keptBy: .parent)
        let opened = openat(root.number, name, O_RDWR | O_CREAT, 0o600)
        guard opened >= 0 else { return say("answer \(-errno)") }
        // As NinePServer opens what it has found, and changes whose it is.
        let again = open("/proc/self/fd/\(opened)", O_RDONLY)
        say("answer \(again >= 0 ? 0 : -errno) owner \(fchownat(opened, "", 12, 34, 0x1000))")
    }

    private static func live(_ directory: String) throws {
        let (reading, writing) = try ChildProcess.pipe()
        try Jail(sharing: [], at: directory).close(keptBy: .parent)
        let threads = try ThreadRole.allCases.map { role in
            try SystemThread(name: "\(role)") {
                role.confine()
                // More than one arena of malloc(3)'s holds, so that it asks for memory.
                let numbers = (0..<1_000_000).map { $0 }
                try? writing.write([UInt8(truncatingIfNeeded: numbers.count)])
            }
        }
        for thread in threads { thread.join() }
        say("wrote \(try reading.read(atMost: 100)?.count ?? 0), time \(monotonicSeconds() > 0)")
    }

    private static func status(_ directory: String) throws {
        let signals = try SignalDescriptor.open([SIGTERM])
        switch try JailedProcess.fork(jailing: .child) {
        case .jailed(let keeper):
            try Jail(sharing: [], at: directory).close(keptBy: .parent)
            _ = try keeper.tellKeeper("closed")
        case .keeper(let child):
            _ = try child.word(passingOn: signals)
            for file in ["status", "mountinfo"] { say(Files.text("/proc/\(child.number)/\(file)") ?? "") }
            try child.acknowledge()
            _ = try child.wait()
        }
    }

    /// Without the C library's streams, which ask more of the kernel.
    private static func say(_ text: String) {
        try? output.write(Array((text + "\n").utf8))
    }
}
