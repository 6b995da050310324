// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// An image made of Debian's packages by mmdebstrap: Debian's essential packages and apt, and what else is
/// asked for. Works as root, and for others where user namespaces are allowed.
public struct DebianImage: Sendable {
    private static let defaultMirror = "http://deb.debian.org/debian"
    /// What Debian's own "slim" images leave out too.
    private static let unwanted = [
        "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*",
        "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
    ]

    /// "bookworm".
    public var suite: String
    public var packages: [String]
    /// nil: the one that this host's apt uses, or deb.debian.org.
    public var mirror: String?

    public init(suite: String, packages: [String] = [], mirror: String? = nil) {
        (self.suite, self.packages, self.mirror) = (suite, packages, mirror)
    }

    /// Writes the root as a tar archive to `path`, packed as its name ends.
    func writeLayer(to path: String, complaint: ([UInt8]) -> Void) throws {
        let tool = try Tool("mmdebstrap", package: "mmdebstrap")
        let options =
            Self.unwanted.map { "--dpkgopt=\($0)" }
            + (packages.isEmpty ? [] : ["--include=\(packages.joined(separator: ","))"])
        try tool.run(
            ["--variant=minbase", "--format=tar"] + options + [suite, path, mirror ?? Self.hostsMirror()],
            what: "building an image of Debian \(suite)",
            remedy: "check the suite, the packages' names and the network", complaint: complaint)
    }

    private static func hostsMirror() -> String {
        let targets = try? ChildProcess.output(
            "apt-get",
            ["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"])
        for line in (targets ?? "").split(whereSeparator: \.isNewline) {
            let words = line.split(separator: " ")
            // Others of Debian's archives, such as security's, have a '-' in their names.
            if words.count == 3, words[0] == "Debian", !words[1].contains("-") { return String(words[2]) }
        }
        return defaultMirror
    }

    /// What its containers run unless told otherwise, as docker's image of Debian has it.
    func configuration(layer: Digest, created: Timestamp) -> JSON {
        .object([
            ("architecture", .string(ImageError.architecture)), ("os", .string("linux")),
            ("created", .string(created.description)),
            (
                "config",
                .object([
                    ("Cmd", .array([.string("bash")])),
                    (
                        "Env",
                        .array([.string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")])
                    ),
                ])
            ),
            (
                "rootfs",
                .object([
                    ("type", .string("layers")), ("diff_ids", .array([.string(layer.description)])),
                ])
            ),
            (
                "history",
                .array([
                    .object([
                        ("created", .string(created.description)),
                        ("created_by", .string("mmdebstrap \(suite) \(packages.joined(separator: ","))")),
                    ])
                ])
            ),
        ])
    }
}
