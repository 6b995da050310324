// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraImages

/// Debian's docker-registry on this host, with a directory of its own; stopped with the value.
private final class TestRegistry {
    let directory: TemporaryDirectory
    let port = UInt16.random(in: 20_000..<32_000)
    let process: pid_t

    init() throws {
        directory = try TemporaryDirectory()
        let settings = """
            version: 0.1
            log: {level: error}
            storage: {filesystem: {rootdirectory: \(directory.path)/data}}
            http: {addr: "127.0.0.1:\(port)"}
            """
        try Files.write(Array(settings.utf8), to: directory.file("settings.yml"))
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        process = try ChildProcess(
            program: "docker-registry", arguments: ["serve", directory.file("settings.yml")],
            descriptors: [(null.number, 0), (null.number, 1), (null.number, 2)], ownSession: true
        ).spawn()
    }

    deinit { stop() }

    func stop() {
        kill(process, SIGKILL)
        var status: Int32 = 0
        waitpid(process, &status, 0)
    }

    func name(_ repository: String) throws -> ImageReference {
        try ImageReference("127.0.0.1:\(port)/\(repository)")
    }

    /// Takes an image, as soon as the registry answers.
    func push(_ image: ImageFixture, as repository: String) throws {
        let archive = try image.writeArchive(to: directory.file("push.tar"))
        _ = try ChildProcess.output(
            "sh",
            [
                "-c",
                """
                for i in $(seq 100); do
                    skopeo --insecure-policy copy --quiet --preserve-digests --dest-tls-verify=false oci-archive:\(archive) \
                        docker://\(try name(repository)) 2>/dev/null && exit 0
                    sleep 0.1
                done
                exit 1
                """,
            ])
    }

    /// Damages a blob.
    func damage(_ content: [UInt8]) throws {
        let digits = Digest.of(content).hexadecimal
        let path = directory.file(
            "data/docker/registry/v2/blobs/sha256/\(digits.prefix(2))/\(digits)/data")
        var bytes = try Files.read(path)
        bytes[bytes.count / 2] ^= 1
        try Files.write(bytes, to: path)
    }
}

@Suite(.serialized) struct RegistryTests {
    @Test func imagesArePulledByTagAndByDigest() throws {
        let registry = try TestRegistry()
        let test = try TestStore()
        let fixture = try ImageFixture()
        try registry.push(fixture, as: "team/tool:1")
        let image = try test.store.pull(try registry.name("team/tool:1"))
        let name = try registry.name("team/tool:1")
        #expect(image.id == fixture.id && image.references == [name])
        let byDigest = try registry.name("team/tool@\(image.manifest)")
        #expect(try test.store.resolve(byDigest.description).id == image.id)
        #expect(try test.store.pull(byDigest).id == image.id)
        #expect(Files.list(test.store.layout.temporary) == [])
        // The tag moves, and the store follows at the next pull.
        let new = try ImageFixture(seed: "new")
        try registry.push(new, as: "team/tool:1")
        #expect(try test.store.pull(try registry.name("team/tool:1")).id == new.id)
        #expect(try test.store.resolve(byDigest.description).id == fixture.id)
    }

    @Test func anArchiveCanBeFetchedForAStoreElsewhere() throws {
        let registry = try TestRegistry()
        let test = try TestStore()
        let fixture = try ImageFixture()
        try registry.push(fixture, as: "tool")
        let path = test.directory.file("fetched.tar")
        let scratch = test.directory.file("scratch")
        try Files.makeDirectories(scratch)
        try Registry().fetch(
            try registry.name("tool"), to: try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600),
            by: scratch)
        let loaded = try test.store.load(from: path)
        let name = try registry.name("tool")
        #expect(loaded.map(\.id) == [fixture.id] && loaded[0].references == [name])
        #expect(Files.list(scratch) == [])
    }

    @Test func whatARegistryHasNotOrHasDamagedIsTold() throws {
        let registry = try TestRegistry()
        let test = try TestStore()
        let fixture = try ImageFixture()
        try registry.push(fixture, as: "tool")
        #expect(message { _ = try test.store.pull(try registry.name("nosuch")) }.contains("manifest unknown"))
        try registry.damage(fixture.layers[0])
        let text = message { _ = try test.store.pull(try registry.name("tool")) }
        #expect(text.contains("pulling 127.0.0.1:\(registry.port)/tool:latest failed: "), "\(text)")
        #expect(try test.store.list().isEmpty)
        registry.stop()
        #expect(message { _ = try test.store.pull(try registry.name("tool")) }.contains("connection refused"))
        #expect(try TestStore.remains(test.store.layout) == [])
    }

    /// The registry goes away at random moments of a pull of some megabytes.
    @Test func aRegistryThatGoesAwayLeavesNothing() throws {
        var fixture = try ImageFixture()
        var generator = SystemRandomNumberGenerator()
        let noise = (0..<4_000_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        fixture.layers.append(try Archive.of([Member(Array("noise".utf8), .file, noise, FileMetadata())]))
        for _ in 0..<3 {
            let registry = try TestRegistry()
            let test = try TestStore()
            try registry.push(fixture, as: "tool")
            let delay = UInt32.random(in: 20_000..<250_000, using: &generator)
            let name = try registry.name("tool")
            let process = registry.process
            let thread = try SystemThread(name: "stopper") {
                usleep(delay)
                kill(process, SIGKILL)
            }
            let text = message { _ = try test.store.pull(name) }
            thread.join()
            let images = try test.store.list()
            #expect(text == "no error" ? images.count == 1 : images.isEmpty, "\(text)")
        }
    }
}
