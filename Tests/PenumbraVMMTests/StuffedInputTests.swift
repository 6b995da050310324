// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// The host's half against the guest's, guest-root/programs/input.c, built for this host.
@Suite struct StuffedInputTests {
    private let directory: TemporaryDirectory
    private let program: String

    init() throws {
        directory = try TemporaryDirectory()
        program = directory.path + "/input"
        let source =
            #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
            + "/guest-root/programs/input.c"
        _ = try ChildProcess.output(
            "cc",
            ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O2", source, "-o", program]
        )
    }

    /// What the guest's half makes of these bytes, and whether it took them for an input that ended.
    private func unstuffed(_ bytes: [UInt8]) throws -> (bytes: [UInt8], ended: Bool) {
        let files = ["in", "out"].map { "\(directory.path)/\($0)" }
        try Files.write(bytes, to: files[0])
        let status = try ChildProcess.output(
            "sh", ["-c", "\(program) <\(files[0]) >\(files[1]); echo $?"])
        return (try Files.read(files[1]), status == "0\n")
    }

    @Test func everyByteArrivesAndThenTheEnd() throws {
        var content: [UInt8] = []
        for byte in UInt8.min...UInt8.max { content += [byte, byte, 0x10, byte, 0x0f] }
        // More than the program reads at once, so that an escape falls between two reads.
        for shift in 0..<4 { content += [UInt8](repeating: 0x10, count: 5000 + shift) + [0x41] }
        let stuffed = StuffedInput.stuffed(content)
        #expect(!stuffed.contains(0x0f))
        let (bytes, ended) = try unstuffed(stuffed + StuffedInput.end + [0x61])
        #expect(bytes == content)
        #expect(ended)
    }

    @Test func anEmptyInputEnds() throws {
        let (bytes, ended) = try unstuffed(StuffedInput.end)
        #expect(bytes.isEmpty && ended)
    }

    @Test func anInputThatIsCutOffHasNotEnded() throws {
        let (bytes, ended) = try unstuffed([0x61, 0x10])
        #expect(bytes == [0x61] && !ended)
    }
}
