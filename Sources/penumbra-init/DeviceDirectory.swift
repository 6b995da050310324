// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// The container's /dev: the devices that the OCI runtime specification lists, and nothing else.
enum DeviceDirectory {
    /// Name and number: all have the major number 1 but the terminal (linux: admin-guide/devices.txt).
    private static let memoryDevices: [(name: String, minor: UInt32)] = [
        ("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9),
    ]
    private static let links = [
        ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
    ]

    static func make() throws(AgentFailure) {
        try FileSystem.mount("tmpfs", at: "/dev", type: "tmpfs", INIT_NO_SUID, options: "mode=755,size=64k")
        let mask = umask(0)
        defer { _ = umask(mask) }
        for device in memoryDevices { try makeDevice(device.name, major: 1, minor: device.minor) }
        try makeDevice("tty", major: 5, minor: 0)
        for (name, target) in links {
            try FileSystem.check("symlink", name) { Int(symlink(target, "/dev/\(name)")) }
        }
        let safe = INIT_NO_SUID | INIT_NO_EXECUTION
        try FileSystem.mount(
            "devpts", at: "/dev/pts", type: "devpts", safe,
            options: "newinstance,ptmxmode=0666,mode=0620,gid=5")
        try FileSystem.mount(
            "tmpfs", at: "/dev/shm", type: "tmpfs", safe | INIT_NO_DEVICES, options: "mode=1777,size=64m")
        try FileSystem.mount("mqueue", at: "/dev/mqueue", type: "mqueue", safe | INIT_NO_DEVICES)
    }

    private static func makeDevice(_ name: String, major: UInt32, minor: UInt32) throws(AgentFailure) {
        try FileSystem.check("mknod", name) {
            Int(init_make_node("/dev/\(name)", S_IFCHR | 0o666, major, minor))
        }
    }

    /// Programs that look for the container's terminal find it at /dev/console too.
    static func makeConsole(_ terminal: Descriptor) throws(AgentFailure) {
        try FileSystem.makeFile("/dev/console")
        try FileSystem.bind("/proc/self/fd/\(terminal.number)", at: "/dev/console")
    }
}
