// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraImages
@testable import penumbra

@Suite struct ImageCommandTests {
    private static let digits = "0123456789ab" + String(repeating: "c", count: 52)
    private static let now = Timestamp("2026-11-21T12:00:00Z")!

    private func image(_ references: [String], created: String?, size: UInt64) throws -> Image {
        let digest = try #require(Digest("sha256:\(Self.digits)"))
        return Image(
            id: digest, references: try references.map { try ImageReference($0) }, configuration: .init(),
            architecture: "amd64", operatingSystem: "linux", created: created, size: size,
            manifest: digest, layers: [])
    }

    @Test func aListHasDockersColumns() throws {
        let images = [
            try image(
                ["debian:12", "localhost:5000/team/tool"], created: "2026-11-19T12:00:00.5Z",
                size: 118_400_000),
            try image([], created: nil, size: 999),
            try image(["web"], created: "2026-11-21T11:59:00+00:00", size: 1_260_000_000),
        ]
        let rows = ImageListCommand.rows(images, now: Self.now, isWhole: false)
        #expect(
            ImageListCommand.table(rows) == """
                REPOSITORY                TAG     IMAGE ID      CREATED             SIZE
                web                       latest  0123456789ab  About a minute ago  1.26GB
                debian                    12      0123456789ab  2 days ago          118MB
                localhost:5000/team/tool  latest  0123456789ab  2 days ago          118MB
                <none>                    <none>  0123456789ab  unknown             999B
                """)
        #expect(
            rows[1].json.text
                == #"{"Repository":"debian","Tag":"12","Digest":"sha256:\#(Self.digits)","ID":"0123456789ab","#
                + #""CreatedAt":"2026-11-19T12:00:00.5Z","CreatedSince":"2 days ago","Size":"118MB"}"#)
        #expect(ImageListCommand.rows(images, now: Self.now, isWhole: true)[0].id == "sha256:\(Self.digits)")
    }

    @Test(arguments: [
        (0, "Less than a second ago"), (1, "1 second ago"), (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (119, "About a minute ago"), (120, "2 minutes ago"), (5400, "About an hour ago"),
        (7200, "2 hours ago"),
        (86_400, "24 hours ago"), (172_800, "2 days ago"), (1_209_600, "2 weeks ago"),
        (5_184_000, "2 months ago"),
        (63_072_000, "2 years ago"), (-5, "Less than a second ago"),
    ])
    func agesAreInDockersWords(_ seconds: Int64, _ text: String) {
        let past = Timestamp(seconds: Self.now.seconds - seconds)
        #expect(Age.text(from: past, to: Self.now) == text)
    }

    @Test func templatesAreFilled() throws {
        let json = try JSON(
            parsing: Array(#"{"ID":"x","Config":{"User":"web","Env":["A=b"],"n":null}}"#.utf8))
        for (template, text) in [
            ("{{.ID}}", "x"), ("a {{ .Config.User }}\\t{{json .Config.Env}}!", "a web\t[\"A=b\"]!"),
            ("plain", "plain"),
            ("{{json .ID}}", #""x""#), ("{{.Config}}", #"{"User":"web","Env":["A=b"],"n":null}"#), ("", ""),
        ] {
            #expect(try OutputTemplate(template).text(json) == text)
        }
        for template in ["{{", "{{.ID", "{{ID}}", "{{range .}}", "{{}}", "{{.ID .ID}}"] {
            #expect(throws: (any Error).self) { try OutputTemplate(template) }
        }
        #expect { try OutputTemplate("{{.Nope}}").text(json) } throws: {
            "\($0)".contains("there are: ID, Config")
        }
    }

    @Test(arguments: [
        ["image", "tag", "a"], ["image", "tag", "a", "B C"], ["image", "rm"], ["image", "save"],
        ["image", "inspect"],
        ["image", "load", "a", "--input", "b"], ["image", "load", "--name", "a b"], ["pull"],
        ["pull", "A:b:c"],
        ["image", "pull", "a", "b"], ["image", "ls", "--format", "{{"], ["image", "build-debian"],
        ["image", "build-debian", "A"],
        ["image", "inspect", "a", "--format", "{{.a .b}}"],
    ])
    func nonsenseIsRefused(_ words: [String]) {
        #expect(throws: (any Error).self) { try Penumbra.parseAsRoot(words) }
    }
}
