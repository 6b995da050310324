// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
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
        let settings = verb.settings
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
        ["machine", "start", "--timeout", "0"], ["machine", "cp", "a", "b"], ["machine", "cp", ":a", ":b"],
        ["guest"], ["guest", "f", "--memory", "3"], ["guest", "f", "--timeout", "-1"],
        ["guest", "f", "--pool", "1"], ["doctor", "--format", "xml"], ["nonsense"],
    ])
    func nonsenseIsRefused(_ words: [String]) {
        #expect(throws: (any Error).self) { try Penumbra.parseAsRoot(words) }
    }

    @Test func aGuestsDefaultsAreThoseOfTheManual() throws {
        let verb = try parse(["guest", "file"], as: GuestCommand.self)
        #expect(verb.memory == "16M" && verb.cpus == 1 && verb.timeout == nil && verb.place.machine == nil)
    }
}

@Suite struct JSONTests {
    @Test func textIsQuoted() {
        #expect(JSON.string("a\"b\\c\n\t\u{1}é").text == #""a\"b\\c\n\t\u0001é""#)
    }

    @Test func valuesNest() {
        let value = JSON.object([("a", .array([.number(1), .boolean(true)])), ("b", .object([]))])
        #expect(value.text == #"{"a":[1,true],"b":{}}"#)
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
