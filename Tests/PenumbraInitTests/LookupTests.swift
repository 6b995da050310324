// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import Testing

@testable import penumbra_init

/// The agent's own sources, without a system around them.
@Suite struct LookupTests {
    private static let passwd = """
        root:x:0:0:root:/root:/bin/bash
        # a comment
        web:x:33:44::/srv:/bin/false
        broken:x:5
        empty:x:7:7:::/bin/sh
        1000:x:2000:2000::/odd:/bin/sh
        """
    private static let group = "root:x:0:\nweb:x:44:\nlog:x:4:web,syslog\ntty:x:5:root,web\nbroken\n"

    private func account(_ text: String) throws -> Account {
        try Account(text, passwd: Self.passwd, group: Self.group)
    }

    @Test func namesAndNumbersAreFound() throws {
        #expect(try account("").user == 0 && account("").home == "/root" && account("").groups == [0, 5])
        #expect(try account("web").groups == [44, 4, 5])
        #expect(try account("33") == account("web"))
        #expect(try account("web:log").group == 4)
        #expect(try account("web:log").groups == [4])
        #expect(try account(":web").user == 0 && account(":web").group == 44)
        #expect(try account("empty").home == "/")
        #expect(try account("9:9").groups == [9])
    }

    /// As useradd(8) forbids, yet an image may have it: a name that is a number wins.
    @Test func aNameMayBeANumber() throws { #expect(try account("1000").user == 2000) }

    @Test(arguments: ["nobody", "broken", "web:nogroup", "-1", "4294967296"]) func othersAreNot(
        _ text: String
    ) {
        #expect(throws: AgentFailure.self) { try account(text) }
    }

    @Test func programsAreLookedForInThePath() {
        var spec = ProcessSpec("a")
        spec.environment = [Array("PATH=/a::/b/".utf8)]
        let environment = Environment(spec, home: "/", hostname: "h")
        #expect(
            environment.candidates(for: Array("x".utf8)).map { String(decoding: $0, as: UTF8.self) } == [
                "/a/x", "./x", "/b//x",
            ])
        #expect(environment.candidates(for: Array("./x".utf8)) == [Array("./x".utf8)])
    }

    @Test func requestsForTheNetworkAreAsTheKernelReadsThem() {
        #expect(
            NetlinkRequest.address(NetworkSpec.Address([10, 0, 2, 15], prefixLength: 24), interface: 2).bytes
                == [40, 0, 0, 0, 20, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0, 0, 2, 24, 2, 0, 2, 0, 0, 0]
                + [8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15])
        #expect(
            NetlinkRequest.bringUp(interface: 1, mtu: 1500).bytes
                == [
                    40, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1,
                    0, 0, 0,
                ]
                + [8, 0, 4, 0, 0xdc, 5, 0, 0])
    }
}
