// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import PenumbraContainers
import PenumbraSystem

struct LogsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Print what a container's program has written.")

    @Flag(name: [.short, .long], help: "Go on until the container has ended.")
    var follow = false

    @Option(name: [.customShort("n"), .long], help: "The last so many lines, or 'all'.")
    var tail = "all"

    @Option(help: "From this moment on: 2026-11-21T18:00:00Z, or so long ago: 90s, 10m, 2h30m.")
    var since: String?

    @Flag(name: [.short, .long], help: "Print the time before each line.")
    var timestamps = false

    @Flag(help: "What the guest's kernel said, of the last run, in place of the program's output.")
    var boot = false

    @OptionGroup var place: MachineOption

    @Argument(help: "A container.", completion: .custom { _, _, _ in Containers.names() })
    var container: String

    func validate() throws {
        _ = try lines()
        if let since { _ = try Self.moment(since, now: .now) }
        if boot && (timestamps || since != nil) {
            throw ValidationError("--boot: the kernel's lines have times of their own")
        }
    }

    private func lines() throws -> Int? {
        if tail == "all" { return nil }
        guard let lines = Int(tail), lines >= 0 else {
            throw ValidationError("--tail: '\(tail)' is no number of lines, nor 'all'")
        }
        return lines
    }

    /// A moment, or that long before `now`.
    static func moment(_ text: String, now: Timestamp) throws -> Timestamp {
        if let moment = Timestamp(text) { return moment }
        var (rest, seconds) = (text[...], Int64(0))
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600]
        while !rest.isEmpty {
            let digits = rest.prefix(while: \.isNumber)
            guard let count = Int64(digits), count < 1 << 32, let unit = rest.dropFirst(digits.count).first,
                let length = units[unit]
            else {
                throw ValidationError(
                    "--since: '\(text)' is no moment such as 2026-11-21T18:00:00Z, nor 2h30m")
            }
            seconds += count * length
            rest = rest.dropFirst(digits.count + 1)
        }
        return Timestamp(seconds: now.seconds - seconds, nanoseconds: now.nanoseconds)
    }

    func run() throws {
        var words = ["logs", "--tail=\(tail)"]
        if follow { words.append("--follow") }
        if timestamps { words.append("--timestamps") }
        if boot { words.append("--boot") }
        if let since { words.append("--since=\(try Self.moment(since, now: .now))") }
        try GuestReport.exit(at: place, forwarding: words + [container]) {
            let store = try Containers.store()
            let found = try store.find(container)
            return try boot ? printBootLog(found, store) : printLog(found, store)
        }
    }

    private func printLog(_ found: Container, _ store: ContainerStore) throws -> Int32 {
        let earliest = try since.map { try Self.moment($0, now: .now) }
        func isWanted(_ record: LogRecord) -> Bool { earliest.map { record.time >= $0 } ?? true }
        guard let reader = try store.log(of: found.id) else { return 0 }
        var tail = try lines().map(LogTail.init)
        try reader.drain { records in
            for record in records where isWanted(record) {
                if tail == nil { try write(record) } else { tail?.append(record) }
            }
        }
        for record in tail?.kept ?? [] { try write(record) }
        guard follow else { return 0 }
        try store.follow(found.id) {
            try reader.drain { for record in $0 where isWanted(record) { try write(record) } }
        }
        return 0
    }

    private func write(_ record: LogRecord) throws {
        let line = (timestamps ? Array("\(record.time) ".utf8) : []) + record.bytes
        try (record.stream == .standard ? Output.standard : Output.error).write(line)
    }

    /// Lines of text as they are.
    private func printBootLog(_ found: Container, _ store: ContainerStore) throws -> Int32 {
        guard let file = try store.bootLog(of: found.id) else { return 0 }
        let all = try file.readToEnd()
        let kept = try lines().map { Self.lastLines($0, of: all) } ?? all[...]
        try Output.standard.write(Array(kept))
        guard follow else { return 0 }
        try store.follow(found.id) { try Output.standard.write(try file.readToEnd()) }
        return 0
    }

    static func lastLines(_ count: Int, of text: [UInt8]) -> ArraySlice<UInt8> {
        var left = count
        for index in text.indices.dropLast().reversed() where text[index] == UInt8(ascii: "\n") {
            left -= 1
            if left == 0 { return text[(index + 1)...] }
        }
        return count == 0 ? [] : text[...]
    }
}
