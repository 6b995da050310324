// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraVMM
import Testing

@testable import penumbra

@Suite struct CommandTests {
    private func parse<Verb: ParsableCommand>(_ words: [String], as: Verb.Type) throws -> Verb {
        try #require(try Penumbra.parseAsRoot(words) as? Verb)
    }

    @Test func aMachinesSettingsAreTaken() throws {
        let verb = try parse(
            [
                "machine", "start", "--name", "bench", "--cpus", "1", "--memory", "1G", "--kernel", "6.12",
                "--boot", "bzimage", "--cmdline", "pti=on penumbra.x=1", "--qemu-arg=-icount",
                "--qemu-arg=shift=0,sleep=off", "--qemu-arg", "-S", "--module", "none",
            ], as: MachineStartCommand.self)
        #expect(verb.name.name == "bench")
        let settings = try verb.settings()
        #expect(settings.cpus == 1 && settings.memory == "1G" && settings.kernel == "6.12")
        #expect(settings.boot == .bzimage && settings.accelerator == .tcg)
        #expect(settings.commandLine == "pti=on penumbra.x=1")
        #expect(settings.qemuArguments == ["-icount", "shift=0,sleep=off", "-S"])
        #expect(settings.module == .none)
    }

    @Test func programsKeepTheirOwnOptions() throws {
        let verb = try parse(
            ["machine", "exec", "--name", "m", "--", "ls", "--name", "-l"], as: MachineExecCommand.self)
        #expect(verb.name.name == "m")
        #expect(verb.words == ["ls", "--name", "-l"])
    }

    @Test(arguments: [
        ["machine", "start", "--cpus", "0"], ["machine", "start", "--boot", "floppy"],
        ["machine", "start", "--disk", "20"], ["machine", "start", "--disk", "9T"],
        ["machine", "start", "--timeout", "0"], ["machine", "cp", "a", "b"], ["machine", "cp", ":a", ":b"],
        ["guest"], ["guest", "f", "--memory", "3"], ["guest", "f", "--timeout", "-1"],
        ["guest", "f", "--pool", "1"], ["boot"], ["boot", "--kernel", "k", "--memory", "1"],
        ["boot", "--kernel", "k", "--name", "a/b"], ["boot", "--kernel", "k", "--timeout", "0"],
        ["sandbox", "--env", "A", "--", "true"], ["sandbox", "--add", "x", "--", "true"], ["sandbox", "ls"],
        ["sandbox", "--memry", "1G", "--", "true"], ["sandbox", "--name", ".."],
        ["stop"], ["stop", "--time", "-1", "a"], ["kill"], ["kill", "--signal", "NOPE", "a"], ["ps", "name"],
        ["ps", "--format", "{{.ID"], ["ps", "--format", "{{ID}}"], ["doctor", "--format", "xml"],
        ["nonsense"],
    ])
    func nonsenseIsRefused(_ words: [String]) {
        #expect(throws: (any Error).self) { try Penumbra.parseAsRoot(words) }
    }

    @Test func aGuestsDefaultsAreThoseOfTheManual() throws {
        let verb = try parse(["guest", "file"], as: GuestCommand.self)
        #expect(verb.memory == "16M" && verb.cpus == 1 && verb.timeout == nil && verb.place.machine == nil)
    }
}

@Suite struct GuestVerbTests {
    private func parse<Verb: ParsableCommand>(_ words: [String], as: Verb.Type) throws -> Verb {
        try #require(try Penumbra.parseAsRoot(words) as? Verb)
    }

    @Test func aCommandKeepsItsOwnOptions() throws {
        let verb = try parse(
            ["sandbox", "--memory", "128M", "--env", "A=1", "--env", "B=", "--", "ls", "--memory", "-l"],
            as: SandboxCommand.self)
        #expect(verb.words == ["ls", "--memory", "-l"])
        #expect(verb.options.memory == "128M" && verb.env == ["A=1", "B="])
    }

    @Test func withoutACommandThereIsAShell() throws {
        let verb = try parse(["sandbox"], as: SandboxCommand.self)
        #expect(verb.words.isEmpty && verb.kernel == "6.1" && verb.cwd == "/root")
    }

    @Test func theMachineIsToldWhatWeWereTold() throws {
        let verb = try parse(
            [
                "boot", "--kernel", "/boot/vmlinuz-1", "--memory=1G", "--name", "web", "--timeout", "5",
                "--debug", "--counters",
            ], as: BootCommand.self)
        let words = verb.options.words(kernel: verb.kernel)
        let there = try parse(["boot", "--here", "--kernel", "x"] + words, as: BootCommand.self)
        #expect(there.options.memory == "1G" && there.options.name == "web" && there.options.timeout == 5)
        #expect(there.options.debug && there.options.counters && there.options.place.here)
        #expect(there.options.kernelName == "vmlinuz-1")
    }

    @Test func bootsCommandLineMayBeEmpty() throws {
        #expect(try parse(["boot", "--kernel", "k", "--cmdline", ""], as: BootCommand.self).cmdline == "")
        #expect(try parse(["boot", "--kernel", "k"], as: BootCommand.self).cmdline == "console=hvc0")
    }
}

@Suite struct CoreLocationTests {
    private static let digits = String(repeating: "0f", count: 20)

    @Test func theAnnouncementIsFoundAmongOtherLines() throws {
        let buildID = try #require(BuildID(digits: Self.digits))
        let location = CoreLocation(buildID: buildID, address: 0xffff_8280_0000_1234)
        let text = "guest says\npenumbra: crash: core-trap\npenumbra: \(location.announcement)\nmore\n"
        #expect(CoreLocation(in: text) == location)
        #expect(buildID.digits == Self.digits)
    }

    @Test(arguments: [
        "", "penumbra: core bug at 0x", "penumbra: core bug at 0x12, build id 12",
        "penumbra: core bug at 0xzz, build id \(digits)",
    ])
    func otherLinesAreNone(_ text: String) { #expect(CoreLocation(in: text) == nil) }
}
