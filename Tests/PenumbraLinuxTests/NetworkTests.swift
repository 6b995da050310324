// SPDX-License-Identifier: Apache-2.0
import Foundation
import PenumbraTestSupport
import Testing

/// A guest's network through passt, in a machine whose only neighbours are its own servers.
@Suite(.serialized)
struct NetworkTests {
    /// passt wants a way out of the host, and to hide the host's files from itself by pivot_root(2),
    /// which no initramfs can be the root for: so all runs in a mount namespace with another one.
    private static let surroundings = """
        insmod /tmp/dummy.ko && ip link add test0 type dummy && ip link set test0 up
        ip addr add 192.0.2.2/24 dev test0 && ip route add default via 192.0.2.1
        chmod +x /tmp/passt && mv /tmp/passt /usr/bin
        mkdir /tmp/www /sysroot && dd if=/dev/urandom of=/tmp/www/file bs=1M count=4 2>/dev/null
        httpd -p 8000 -h /tmp/www
        mount --rbind / /sysroot
        cd /sysroot && mount --move . / && exec chroot . sh /tmp/script
        """
    private static let script = """
        penumbra boot --network user --publish 8080:80 --publish 127.0.0.1:8081:80 \\
            --kernel /tmp/kernel --initrd /tmp/initrd \\
            --cmdline 'console=hvc0 quiet job=network' >/tmp/said 2>&1 &
        until grep -q '^=> served' /tmp/said || ! kill -0 $!; do sleep 1; done
        for port in 8080 8081; do
            wget -q -O - http://127.0.0.1:$port/file | cmp - /tmp/www/file && echo "port $port: right"
        done
        penumbra boot --network user --publish 8080:80 --kernel /tmp/kernel 2>&1 | grep passt
        wget -q -O /dev/null http://127.0.0.1:8080/end
        wait $!
        echo "status $?"
        cat /tmp/said
        """

    @Test(
        "A guest fetches a file, serves it at published ports, and a port that is taken is refused",
        arguments: Scale.isFull ? ["6.1", "6.12"] : ["6.1"])
    func userNetwork(kernel: String) throws {
        let machine = try TestMachine(
            MachineKind(testDescription: "Linux 6.1, release core", core: "release"))
        try machine.put(
            Tree.root.appending(path: ".build-cache/kernels/\(kernel)/vmlinux"), at: "/tmp/kernel")
        try machine.put(InitialDisk.network(kernel), at: "/tmp/initrd")
        try machine.put(InitialDisk.module("dummy", of: "6.1"), at: "/tmp/dummy.ko")
        try machine.put(URL(filePath: "/usr/bin/passt"), at: "/tmp/passt")
        _ = try machine.shell("cat >/tmp/script <<'END'\n\(Self.script)\nEND")
        let result = try machine.shell(
            "cat >/tmp/setup <<'END'\n\(Self.surroundings)\nEND\nexec unshare -m sh /tmp/setup")
        let lines = result.output.split(whereSeparator: \.isNewline)
        for expected in ["port 8080: right", "port 8081: right", "status 0", "=> fetched: 0"] {
            #expect(lines.contains { $0 == expected }, "\(expected): \(result.output)\(result.errors)")
        }
        #expect(lines.contains { $0.contains("cannot be connected to the network") }, "\(result.output)")
        #expect(try machine.leaks() == "")
        #expect(try machine.complaints() == "")
    }
}
