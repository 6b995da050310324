// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraImages

@Suite struct ImageStoreTests {
    @Test func anImageIsWhatItsConfigurationSays() throws {
        let test = try TestStore()
        let fixture = try ImageFixture()
        let image = try test.load(fixture)
        #expect(image.id == fixture.id)
        #expect(image.references.map(\.familiar) == ["debian:12"])
        #expect(image.architecture == "amd64" && image.created == "2026-11-20T10:00:00Z")
        let configuration = image.configuration
        #expect(configuration.entrypoint == ["/entry"] && configuration.command == ["run", "it"])
        #expect(configuration.environment == ["A=b"] && configuration.user == "web")
        #expect(configuration.workingDirectory == "/srv" && configuration.stopSignal == "SIGINT")
        #expect(configuration.exposedPorts == ["80/tcp"] && configuration.volumes == ["/data"])
        #expect(configuration.labels == [.init(name: "k", value: "v")])
        let root = try SquashFSListing(try test.store.rootFileSystem(of: image))
        #expect(root.paths == ["/etc", "/etc/more", "/etc/name"])
        #expect(try root.content("etc/more") == "two")
        #expect(try test.store.list() == [image])
        #expect(try test.store.resolve("debian:12") == image)
    }

    @Test func layoutsAndPackedArchivesAreTheSame() throws {
        let fixture = try ImageFixture()
        let test = try TestStore()
        let layout = try fixture.writeLayout(to: test.directory.file("layout"))
        #expect(try test.store.load(from: layout).map(\.id) == [fixture.id])
        let archive = try fixture.writeArchive(to: test.directory.file("a.tar"))
        for program in ["gzip", "zstd -q"] {
            _ = try ChildProcess.output("sh", ["-c", "\(program) -c \(archive) > \(archive).packed"])
            let other = try TestStore()
            #expect(try other.store.load(from: "\(archive).packed").map(\.id) == [fixture.id])
        }
    }

    @Test func dockersArchivesAreUnderstood() throws {
        let fixture = try ImageFixture()
        let test = try TestStore()
        let manifest =
            #"[{"Config":"c.json","RepoTags":["a:1","b/c:2"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#
        var image = fixture
        image.layers.append(fixture.layers[0])
        let files: [(String, [UInt8])] = [
            ("1/layer.tar", image.layers[0]), ("2/layer.tar", image.layers[1]),
            ("c.json", image.configuration),
            ("manifest.json", Array(manifest.utf8)),
        ]
        var members = files.map { Member(Array($0.0.utf8), .file, $0.1, FileMetadata()) }
        // Equal layers are links.
        members.append(.link("3/layer.tar", to: "../1/layer.tar"))
        let path = test.directory.file("docker.tar")
        try Files.write(try Archive.of(members), to: path)
        let loaded = try test.store.load(from: path)
        #expect(loaded.map(\.id) == [image.id])
        #expect(loaded[0].references.map(\.familiar) == ["a:1", "b/c:2"])
    }

    @Test func whatIsSavedCanBeLoaded() throws {
        let (test, other) = (try TestStore(), try TestStore())
        let image = try test.load(try ImageFixture())
        try test.store.tag("debian:12", as: try ImageReference("other"))
        let path = test.directory.file("saved.tar")
        for (names, saved) in [
            (["debian:12"], ["debian:12"]), ([image.id.short], ["debian:12", "other:latest"]),
        ] {
            try test.store.save(
                names, to: try Descriptor(path: path, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
            let loaded = try other.store.load(from: path)
            #expect(Set(loaded.map(\.id)) == [image.id] && loaded[0].manifest == image.manifest)
            #expect(try other.store.resolve(image.id.short).references.map(\.familiar) == saved)
        }
        // Other programs' opinion; both formats that the archive is in.
        for format in ["oci-archive:\(path):12", "docker-archive:\(path):debian:12"] {
            let json = try JSON(
                parsing: Array(try ChildProcess.output("skopeo", ["inspect", "--config", format]).utf8))
            #expect(json["config"]?["User"]?.string == "web")
        }
    }

    /// Of a store that is trusted; others' are made anew.
    @Test func readyFileSystemsAreTakenWhereTheyAreAskedFor() throws {
        let test = try TestStore()
        let image = try test.load(try ImageFixture())
        let root = try test.store.rootFileSystem(of: image)
        let genuine = try Files.read(root)
        // Another one in its place shows who takes it.
        try Files.write([1, 2, 3], to: root)
        let path = test.directory.file("saved.tar")
        let output = try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600)
        try test.store.save(["debian:12"], readyRoots: .included, to: output)
        for (roots, expected) in [(ImageStore.ReadyRoots.included, [1, 2, 3]), (.ignored, genuine)] {
            let other = try TestStore()
            let loaded = try other.store.load(from: path, readyRoots: roots)
            #expect(try Files.read(try other.store.rootFileSystem(of: loaded[0])) == expected)
        }
    }

    // MARK: Names

    @Test func imagesAreFoundByNameAndByID() throws {
        let test = try TestStore()
        let image = try test.load(try ImageFixture())
        var other = try ImageFixture(seed: "other")
        other.name = "localhost:5000/team/tool"
        try test.load(other)
        let digits = image.id.hexadecimal
        for text in [
            "debian:12", "docker.io/library/debian:12", digits, String(digits.prefix(9)), "\(image.id)",
            "debian@\(image.manifest)",
        ] {
            #expect(try test.store.resolve(text) == image)
        }
        for text in ["debian", "debian:13", "library", "sha256:", "", "tool@\(image.manifest)", "xyz"] {
            #expect(message { _ = try test.store.resolve(text) }.contains("there is no image"))
        }
        #expect(
            message { _ = try test.store.resolve("debian:13") }
                == "there is no image 'debian:13': see 'penumbra image ls', or get it with 'penumbra pull debian:13'"
        )
    }

    @Test func aNameMovesToTheNewImage() throws {
        let test = try TestStore()
        let old = try test.load(try ImageFixture())
        let new = try test.load(try ImageFixture(seed: "new"))
        #expect(try test.store.resolve("debian:12") == new)
        #expect(try test.store.resolve(old.id.short).references == [])
    }

    @Test func removingTakesNamesFirst() throws {
        let test = try TestStore()
        let image = try test.load(try ImageFixture())
        try test.store.tag("debian:12", as: try ImageReference("other"))
        #expect(
            message { _ = try test.store.remove(image.id.short) { _ in [] } }.contains(
                "has several names (debian:12, other:latest)"))
        let first = try test.store.remove("debian:12") { _ in ["used"] }
        #expect(first == .init(untagged: [try ImageReference("debian:12")], deleted: []))
        #expect(
            message { _ = try test.store.remove("other") { _ in ["web", "db"] } }
                == "image 'other' is used by web, db: remove these containers first")
        #expect(try test.store.remove(image.id.short) { _ in [] }.deleted == [image.id])
        #expect(try test.store.list().isEmpty)
        #expect(try TestStore.remains(test.store.layout) == [])
    }

    @Test func pruningKeepsWhatIsNamedOrUsed() throws {
        let test = try TestStore()
        let unnamed = try test.load(try ImageFixture())
        let named = try test.load(try ImageFixture(seed: "new"))
        #expect(try test.store.prune { $0 == unnamed.id ? ["web"] : [] }.removal.deleted == [])
        let (removal, freed) = try test.store.prune { _ in [] }
        #expect(removal.deleted == [unnamed.id] && freed > 0)
        #expect(try test.store.list() == [named])
        // What both had in common is still there.
        #expect(try SquashFSListing(try test.store.rootFileSystem(of: named)).paths.count == 3)
        #expect(try test.store.prune(all: true) { _ in [] }.removal.deleted == [named.id])
        #expect(try TestStore.remains(test.store.layout) == [])
    }

    @Test func aLostFileSystemIsMadeAgain() throws {
        let test = try TestStore()
        let image = try test.load(try ImageFixture())
        let path = try test.store.rootFileSystem(of: image)
        let bytes = try Files.read(path)
        Files.remove(path)
        #expect(try Files.read(try test.store.rootFileSystem(of: image)) == bytes)
    }

    // MARK: Bad input

    /// What is wrong, and what the message must say. Nothing of such an image stays.
    private static let damages: [(String, String, @Sendable (inout ImageFixture) throws -> Void)] = [
        (
            "another architecture", "is for linux/arm64, and this host runs linux/amd64",
            { $0.architecture = "arm64" }
        ),
        (
            "a layer's digest in the configuration", "layer 2, unpacked, is not what its digest says",
            { $0.unpackedDigests = [Digest.of($0.layers[0]), Digest.of([])] }
        ),
        (
            "too few layers in the configuration", "its configuration has 1 layers, its manifest 2",
            { $0.unpackedDigests = [Digest.of($0.layers[0])] }
        ),
        (
            "a layer that is no archive", "a header has a wrong check sum",
            { $0.layers[1] = [UInt8](repeating: 7, count: 2000) }
        ),
        ("a layer that is cut off", "it is cut off", { $0.layers[1] = Array($0.layers[1].prefix(700)) }),
        (
            "a hostile path", "'../etc/passwd' leads upwards",
            { $0.layers[1] = try Archive.of([.file("../etc/passwd", "x")]) }
        ),
        (
            "a zero byte in the environment", "its Env is not what it should be",
            { $0.config = #"{"Env":["A=\u0000"]}"# }
        ),
        ("an environment that is none", "its Env is not what it should be", { $0.config = #"{"Env":"A"}"# }),
        ("a configuration that is no JSON", "no JSON", { $0.config = "{" }),
        ("a name that is none", "'A B' is no image's name", { $0.name = "A B:/" }),
    ]

    @Test(arguments: 0..<damages.count) func damageIsToldAndLeavesNothing(_ index: Int) throws {
        let (_, expected, damage) = Self.damages[index]
        let test = try TestStore()
        var fixture = try ImageFixture()
        try damage(&fixture)
        #expect(
            message { try test.load(fixture) }.contains(
                index == Self.damages.count - 1 ? "is no image's name" : expected))
        #expect(try test.store.list().isEmpty)
        #expect(try TestStore.remains(test.store.layout) == [])
        // The store is as good as new.
        let sound = try ImageFixture()
        #expect(try test.load(sound).id == sound.id)
    }

    @Test(arguments: 0..<4) func aBlobWithAnotherDigestIsRefused(_ index: Int) throws {
        for isArchive in [true, false] {
            let test = try TestStore()
            let fixture = try ImageFixture()
            var files = fixture.files
            files[index].content[files[index].content.count / 2] ^= 1
            let path = test.directory.file("bad")
            if isArchive {
                _ = try ImageFixture.writeArchive(files, to: path)
            } else {
                try Files.makeDirectories("\(path)/blobs/sha256")
                for (name, content) in files { try Files.write(content, to: "\(path)/\(name)") }
            }
            let text = message { _ = try test.store.load(from: path) }
            #expect(text.contains("is not what its digest says") || text.contains("no JSON"), "\(text)")
            #expect(try test.store.list().isEmpty)
        }
    }

    @Test func anIndexGivesThisArchitecturesImage() throws {
        let fixture = try ImageFixture()
        let test = try TestStore()
        func descriptor(_ digest: Digest, _ platform: String) -> String {
            #"{"mediaType":"m","digest":"\#(digest)","size":1,"platform":{"os":"linux","architecture":"\#(platform)"}}"#
        }
        let other = descriptor(Digest.of([]), "arm64")
        for (list, expected) in [
            ("\(other),\(descriptor(Digest.of(fixture.manifest), "amd64"))", fixture.id.description),
            ("\(other),\(descriptor(Digest.of([1]), "riscv64"))", "is for linux/arm64, linux/riscv64"),
        ] {
            let index = Array(#"{"schemaVersion":2,"manifests":[\#(list)]}"#.utf8)
            var files = fixture.files.dropLast()
            files.append(("blobs/sha256/\(Digest.of(index).hexadecimal)", index))
            files.append(
                (
                    "index.json",
                    Array(#"{"manifests":[{"digest":"\#(Digest.of(index))","size":\#(index.count)}]}"#.utf8)
                ))
            let path = try ImageFixture.writeArchive(Array(files), to: test.directory.file("index.tar"))
            #expect(message { throw Found(id: try test.store.load(from: path)[0].id) }.contains(expected))
        }
    }

    private struct Found: Error { let id: Digest }

    @Test(
        arguments: [
            ([], "holds no container image"), ([("manifest.json", "{}")], "is no list of images"),
            ([("manifest.json", "[]")], "its list of images is empty"),
            ([("manifest.json", "[{}]")], "names no Config and Layers"),
            (
                [("manifest.json", #"[{"Config":"../../etc/passwd","Layers":[]}]"#)],
                "../../etc/passwd is missing"
            ),
            ([("oci-layout", "{}"), ("index.json", "{")], "no JSON"),
            (
                [("oci-layout", "{}"), ("index.json", #"{"manifests":[{"digest":"sha512:1","size":1}]}"#)],
                "the digest 'sha512:1' is not supported"
            ),
            (
                [
                    ("oci-layout", "{}"),
                    ("index.json", #"{"manifests":[{"digest":"sha256:../x","size":1}]}"#),
                ], "is not supported"
            ),
        ] as [([(String, String)], String)])
    func contentsThatAreNoImageAreTold(_ files: [(String, String)], _ expected: String) throws {
        let test = try TestStore()
        let path = try ImageFixture.writeArchive(
            files.map { ($0.0, Array($0.1.utf8)) }, to: test.directory.file("a.tar"))
        let text = message { _ = try test.store.load(from: path) }
        #expect(text.contains(expected), "\(text)")
    }

    @Test func membersOfAnArchiveStayInTheStore() throws {
        let test = try TestStore()
        let path = try ImageFixture.writeArchive(
            (try ImageFixture()).files + [
                ("../../escaped", [1]), ("/tmp/penumbra-escaped", [1]), ("blobs/../../../escaped", [1]),
            ],
            to: test.directory.file("a.tar"))
        #expect(try test.store.load(from: path).count == 1)
        #expect(Files.list(test.directory.path).sorted() == ["a.tar", "images"])
        #expect(!Files.exists("/tmp/penumbra-escaped"))
    }

    @Test func aDamagedCatalogIsTold() throws {
        let test = try TestStore()
        try test.load(try ImageFixture())
        for text in ["", "{}", #"{"version":2,"images":[]}"#, #"{"version":1,"images":[{}]}"#] {
            try Files.write(Array(text.utf8), to: test.store.layout.catalog)
            #expect(
                message { _ = try test.store.list() }.contains(
                    "it is damaged, or another version of penumbra wrote it"))
            // Above all nothing is removed for want of a name.
            #expect(message { _ = try test.store.prune { _ in [] } }.contains("damaged"))
            #expect(test.files.count == 5)
        }
    }

    @Test func aBlobThatTheDiskLostIsTold() throws {
        let test = try TestStore()
        let image = try test.load(try ImageFixture())
        let path = test.store.layout.blob(image.id)
        try Files.write([1], to: path)
        #expect(message { _ = try test.store.resolve("debian:12") }.contains("is not what its digest says"))
        Files.remove(path)
        #expect(message { _ = try test.store.resolve("debian:12") }.contains("the store lost blob"))
        // A damaged image can be removed, and loaded again.
        #expect(try test.store.remove("debian:12") { _ in [] }.deleted == [image.id])
        #expect(try test.load(try ImageFixture()) == image)
    }
}
