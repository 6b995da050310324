// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import Testing

@Suite struct OptionTests {
    @Test func capabilitiesHaveTheKernelsNumbers() {
        #expect(Capabilities(name: "NET_ADMIN") == Capabilities(rawValue: 1 << 12))
        #expect(Capabilities(name: "cap_sys_admin") == Capabilities(rawValue: 1 << 21))
        #expect(Capabilities(name: "CHECKPOINT_RESTORE") == Capabilities(rawValue: 1 << 40))
        #expect(Capabilities(name: "all")?.rawValue == (1 << 41) - 1)
        #expect(Capabilities(name: "CAP_") == nil && Capabilities(name: "ADMIN") == nil)
        // Docker's default set, 0xa80425fb, without MKNOD.
        #expect(Capabilities.standard.rawValue == 0xa004_25fb)
    }

    @Test func limitsAreRead() {
        #expect(ResourceLimit("nofile=1024:4096") == ResourceLimit(.nofile, soft: 1024, hard: 4096))
        #expect(ResourceLimit("core=-1") == ResourceLimit(.core, soft: .max, hard: .max))
        #expect(ResourceLimit("as=1:-1") == ResourceLimit(.as, soft: 1, hard: .max))
        #expect(ResourceLimit.Resource.nofile.rawValue == 7 && ResourceLimit.Resource.rttime.rawValue == 15)
    }

    @Test(arguments: [
        "", "nofile", "nofile=", "nofile=a", "nofile=2:1", "nofile=1:2:3", "files=1", "nofile=-2",
    ])
    func nonsenseIsNoLimit(_ text: String) { #expect(ResourceLimit(text) == nil) }
}
