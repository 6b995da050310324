// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraImages

@Suite struct DigestTests {
    /// FIPS 180-4's examples (NIST, "SHA256.pdf"), and the empty text.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func examplesOfTheStandardHold(_ text: String, _ digits: String) {
        #expect(Digest.of(Array(text.utf8)).hexadecimal == digits)
    }

    @Test func aMillionBytesInPiecesHaveTheStandardsDigest() {
        for piece in [1, 63, 64, 65, 1000] {
            var hash = SHA256()
            var rest = 1_000_000
            while rest > 0 {
                hash.update([UInt8](repeating: UInt8(ascii: "a"), count: min(piece, rest)))
                rest -= min(piece, rest)
            }
            #expect(
                hash.finished().hexadecimal
                    == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        }
    }

    @Test func onlyDigestsAreTaken() {
        let digits = String(repeating: "0f", count: 32)
        #expect(Digest("sha256:\(digits)")?.hexadecimal == digits)
        for text in [
            "", digits, "sha512:\(digits)", "sha256:\(digits)0", "sha256:\(digits.uppercased())",
            "sha256:../x",
        ] {
            #expect(Digest(text) == nil)
        }
    }
}
