// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// Debian's own programs in containers of a machine that `ContainerTests` has started.
struct ContainerPrograms {
    /// Shell words that put the programs of this system, with the libraries and tables they need, below `root`.
    static let copy = """
        put() { for file; do
            mkdir -p "root${file%/*}"; [ -e "root$file" ] || cp -L "$file" "root$file"; done; }
        for file in /usr/bin/fio /usr/bin/apt-get /usr/bin/apt-config /usr/bin/apt-key /usr/bin/dpkg \\
            /usr/bin/gpgv /usr/lib/apt/methods/http /usr/lib/apt/methods/gpgv /usr/lib/apt/methods/store; do
            put "$file" $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*' || true)
        done
        put /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/dpkg/*table
        """

    /// Whose small list of packages makes `apt-get update` short.
    private static let archive = "http://deb.debian.org/debian-security"
    private static let suite = "bookworm-security"

    let machine: String
    let image: String

    func check() throws {
        try disk()
        try packages()
    }

    /// The first start writes in random order and reads back what it wrote; the second, after a VM's end, reads
    /// it once more, from the file alone.
    private func disk() throws {
        let job = """
            fio --name=verify --filename=/verify --size=4M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 \
                --direct=1 --fsync=256 --verify=crc32c --verify_fatal=1 --thread
            """
        let script = "\(job) $([ -e /verify ] && echo --verify_only) >/said 2>&1 || { cat /said; exit 1; }"
        let name = "fio-\(machine)"
        let written = try penumbra(
            "run", "--machine", machine, "--name", name, image, "sh", "-c", "\(script); sync")
        #expect(written.status == 0, "\(written.output)\(written.errors)")
        let read = try penumbra("start", "--machine", machine, "--attach", name)
        #expect(read.status == 0, "\(read.output)\(read.errors)")
        #expect(try penumbra("rm", "--machine", machine, name).status == 0)
    }

    /// Through the user network, by the archive's signatures.
    private func packages() throws {
        let probe = try RunningProgram(
            URL(filePath: "/usr/bin/curl"),
            [
                "-sfo", "/dev/null", "--noproxy", "*", "--max-time", "20",
                "\(Self.archive)/dists/\(Self.suite)/InRelease",
            ]
        ).finished()
        guard probe.status == 0 else {
            print("skipped: apt-get through the user network, since this host does not reach \(Self.archive)")
            return
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        let script = """
            set -e; cd /tmp; mkdir -p /var/lib/dpkg /etc/apt/preferences.d /var/cache/apt/archives/partial
            : >/var/lib/dpkg/status
            echo 'deb [signed-by=\(keyring)] \(Self.archive) \(Self.suite) main' >/etc/apt/sources.list
            apt() { apt-get -q -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"; }
            apt update; apt download openssl; test -s openssl_*.deb
            """
        let fetched = try penumbra(
            "run", "--machine", machine, "--rm", "--network", "user", image, "sh", "-c", script)
        #expect(fetched.status == 0, "\(fetched.output)\(fetched.errors)")
    }
}
