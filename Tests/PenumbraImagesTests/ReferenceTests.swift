// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraImages

@Suite struct ReferenceTests {
    private static let digest = "sha256:" + String(repeating: "0a", count: 32)

    @Test(arguments: [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12-slim", "docker.io/library/debian:12-slim", "debian:12-slim"),
        ("docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("team/tool:V_1", "docker.io/team/tool:V_1", "team/tool:V_1"),
        ("localhost/a/b", "localhost/a/b:latest", "localhost/a/b:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("ghcr.io/a/b:1@\(digest)", "ghcr.io/a/b@\(digest)", "ghcr.io/a/b@\(digest)"),
        ("127.0.0.1:5000/a__b/c-d.e", "127.0.0.1:5000/a__b/c-d.e:latest", "127.0.0.1:5000/a__b/c-d.e:latest"),
    ])
    func namesAreCompleted(_ text: String, _ whole: String, _ familiar: String) throws {
        let reference = try ImageReference(text)
        #expect(reference.description == whole && reference.familiar == familiar)
        #expect(try ImageReference(whole) == reference)
    }

    @Test(arguments: [
        "", ":", "a:", "a:b:c", "A", "a/B", "a//b", "/a", "a/", "a@", "a@sha256:12", "a@md5:x", "-a", "a-",
        "a..b", "a b",
        "a:-x", "a:.x", "../a", "a/../b", "host:port/a", "host:99999/a",
        "a:\(String(repeating: "t", count: 129))",
        "é", "a\n", String(repeating: "a", count: 256), "-oProxyCommand=x/a", "--all",
    ])
    func othersAreRefused(_ text: String) {
        #expect(throws: ImageError.self) { try ImageReference(text) }
    }

    @Test(arguments: [
        ("localhost:5000", true), ("127.1.2.3", true), ("localhost.example.org", false),
        ("127.evil.org", false),
    ])
    func thisHostIsKnown(_ registry: String, _ isThis: Bool) {
        #expect(Registry.isThisHost(registry) == isThis)
    }

    @Test(
        arguments: [
            (0, "0B"), (999, "999B"), (1000, "1kB"), (1500, "1.5kB"), (12_340, "12.3kB"),
            (118_000_000, "118MB"),
            (1_230_000_000, "1.23GB"), (999_999, "999kB"), (UInt64.max, "18446744TB"),
        ] as [(UInt64, String)])
    func sizesAreShort(_ bytes: UInt64, _ text: String) { #expect(ByteCount.text(bytes) == text) }
}
