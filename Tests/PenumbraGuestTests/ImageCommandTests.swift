// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// `penumbra image` as a user meets it: its lines, and what a SIGKILL at any moment leaves.
@Suite(.serialized) struct ImageCommandTests {
    /// A directory with an archive of an image, whose layer has files of some kilobytes, and a place for
    /// the store.
    private static let preparation = """
        set -e; cd "$1"; mkdir -p root/bin blobs/sha256 layout; seq 1 200000 >root/numbers
        head -c 3000000 /dev/urandom >root/noise; for i in $(seq 300); do echo $i >root/bin/$i; done
        blob() { sum=$(sha256sum <"$1"); sum=${sum%% *}; cp "$1" layout/blobs/sha256/$sum; size=$(stat -c %s "$1"); }
        mkdir -p layout/blobs/sha256; tar -C root -cf layer .; blob layer; layer=$sum; bytes=$size
        printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"diff_ids":["sha256:%s"]}}' \\
            $layer >config; blob config; id=$sum
        printf '{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},' \\
            $id $size >manifest
        printf '"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \\
            $layer $bytes >>manifest; blob manifest
        printf '{"manifests":[{"digest":"sha256:%s","size":%s,"annotations":{' $sum $size >layout/index.json
        printf '"org.opencontainers.image.ref.name":"test:1"}}]}' >>layout/index.json
        echo '{"imageLayoutVersion":"1.0.0"}' >layout/oci-layout; tar -C layout -cf archive .; echo $id
        """

    private func shell(_ script: String, _ directory: URL) throws -> Finished {
        try RunningProgram(
            URL(filePath: "/bin/sh"),
            [
                "-c",
                "export PENUMBRA_DATA_DIR=\"$1/data\"; penumbra() { build/penumbra \"$@\" --here; }; \(script)",
                "sh", directory.path,
            ]
        ).finished()
    }

    private func withImage(_ body: (_ directory: URL, _ id: String) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "penumbra-images-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let prepared = try shell(Self.preparation, directory)
        #expect(prepared.status == 0, "\(prepared.errors)")
        try body(directory, prepared.output.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    @Test("Verbs of images, and their lines") func verbs() throws {
        try withImage { directory, id in
            let script = """
                penumbra image load -q <"$1/archive"; penumbra image tag test:1 other; penumbra image ls -q
                penumbra image ls --format '{{.Repository}}:{{.Tag}} {{.CreatedSince}}'
                penumbra image inspect other --format '{{json .Config.Cmd}} {{.Architecture}}'
                penumbra image save -o "$1/saved" test:1; penumbra image rm test:1 other; penumbra image ls
                penumbra image load -q "$1/saved"; penumbra image rm \(id.prefix(6)); penumbra image prune
                """
            let finished = try shell(script, directory)
            #expect(
                finished.output == """
                    Loaded image: test:1
                    \(id.prefix(12))
                    test:1 unknown
                    other:latest unknown
                    ["sh"] amd64
                    Untagged: test:1
                    Untagged: other:latest
                    Deleted: sha256:\(id)
                    REPOSITORY  TAG  IMAGE ID  CREATED  SIZE
                    Loaded image: test:1
                    Untagged: test:1
                    Deleted: sha256:\(id)
                    Total reclaimed space: 0B

                    """, "\(finished.errors)")
        }
    }

    @Test("What cannot be is told in a line") func failures() throws {
        try withImage { directory, _ in
            for (words, status, line) in [
                ("image rm nosuch", 1, "penumbra: there is no image 'nosuch'"),
                ("image inspect nosuch", 1, "Error: there is no image 'nosuch'"),
                ("image load /nosuch", 1, "Error: open /nosuch: No such file or directory"),
                ("image load \"$1/config\"", 1, "it is cut off"),
                ("image load \"$1/root\"", 1, "holds no container image"),
                ("image tag test:1 'A B'", 1, "'A B' is no image's name"),
            ] {
                let finished = try shell("penumbra \(words)", directory)
                #expect(
                    finished.status == status && finished.errors.contains(line),
                    "\(words): \(finished.errors)")
            }
        }
    }

    /// Every time the store holds all of the image or none, and the next process goes on.
    @Test("SIGKILL while images are loaded and removed") func kills() throws {
        try withImage { directory, id in
            let script = """
                whole=0; none=0; i=0
                while [ $i -lt 25 ]; do
                    i=$((i + 1))
                    build/penumbra image load --here -q "$1/archive" >/dev/null 2>&1 & victim=$!
                    sleep 0.0$((i * 3 % 10)); [ $((i % 3)) -ne 0 ] || sleep 0.1; kill -9 $victim 2>/dev/null; wait $victim
                    list=$(penumbra image ls -q) || exit 1
                    if [ -n "$list" ]; then
                        whole=$((whole + 1))
                        penumbra image save test:1 | tar -t >/dev/null || exit 2
                        unsquashfs -cat "$1"/data/images/roots/*.squashfs noise | cmp - "$1/root/noise" || exit 3
                        build/penumbra image rm --here test:1 >/dev/null & victim=$!
                        [ $((i % 2)) -ne 0 ] || { sleep 0.00$((i % 9)); kill -9 $victim 2>/dev/null; }; wait $victim
                    else none=$((none + 1)); fi
                done
                penumbra image load -q "$1/archive" >/dev/null && penumbra image rm \(id) >/dev/null || exit 4
                find "$1/data/images/blobs" "$1/data/images/roots" "$1/data/images/tmp" -type f; echo $((whole + none))
                """
            let finished = try shell(script, directory)
            #expect(
                finished.status == 0 && finished.output == "25\n", "\(finished.output)\(finished.errors)")
        }
    }
}
