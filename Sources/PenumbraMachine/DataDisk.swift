// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// The disk that a machine keeps images and containers on: a sparse file with an ext4 file system in the
/// machine's state directory, kept from start to start. machine/init finds it by its serial and mounts it
/// at /var/lib/penumbra.
///
/// The file system is made and checked out here, where nothing is emulated. A machine that lost its
/// power left a journal to replay, which the check does.
struct DataDisk {
    /// QEMU's name for the disk, which the guest reads as its serial.
    static let serial = "penumbra-data"

    let path: String

    /// Makes the disk if there is none; else checks it. A disk keeps the size that it was made with.
    func prepare(size: DiskSize, machine: String) throws {
        guard Files.exists(path) else { return try make(size) }
        var information = stat()
        try retrying("stat", path) { Int(stat(path, &information)) }
        let present = DiskSize(bytes: UInt64(information.st_size))
        guard present == size else {
            throw MachineError.refused(
                "machine '\(machine)' has a disk of \(present) and not of \(size): start it with --disk \(present), "
                    + "or remove \(path) and all that is on it")
        }
        try check()
    }

    /// Under another name until it is whole. The tables are not written: a new file reads as zeros.
    private func make(_ size: DiskSize) throws {
        let temporary = path + ".new"
        let file = try Descriptor(path: temporary, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try retrying("ftruncate", temporary) { Int(ftruncate(file.number, off_t(size.bytes))) }
        let end = try run(
            "mke2fs",
            [
                "-q", "-F", "-t", "ext4", "-m", "0", "-L", "penumbra", "-E", "assume_storage_prezeroed=1",
                temporary,
            ])
        guard end == .exited(0) else { throw Self.failure("making", path, end) }
        try retrying("rename", path) { Int(rename(temporary, path)) }
    }

    private func check() throws {
        let end = try run("e2fsck", ["-p", path])
        // e2fsck(8): 1 says that errors were found and corrected.
        guard end == .exited(0) || end == .exited(1) else { throw Self.failure("checking", path, end) }
    }

    private static func failure(_ what: String, _ path: String, _ end: Termination) -> MachineError {
        .refused("\(what) the machine's disk failed (status \(end.exitCode)): run 'e2fsck -f \(path)'")
    }

    /// Its complaints go where ours go; what it prints of a disk that is in order does not.
    private func run(_ name: String, _ arguments: [String]) throws -> Termination {
        guard let program = Files.program(name) else {
            throw MachineError.missing(
                what: name, path: "\(name) in PATH", remedy: "install Debian's package e2fsprogs")
        }
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        let child = try ChildProcess(
            program: program, arguments: arguments, descriptors: [(null.number, 0), (null.number, 1)]
        ).spawn()
        return try ChildProcess.wait(for: child)
    }
}

/// A disk's size in whole mebibytes.
public struct DiskSize: Equatable, Sendable, CustomStringConvertible {
    public let bytes: UInt64

    /// Below that ext4 has no room for a journal, above it QEMU's raw files end on many file systems.
    private static let limits = UInt64(64) << 20...UInt64(8) << 40

    init(bytes: UInt64) { self.bytes = bytes }

    /// "500M", "20G", "1T".
    public init(_ text: String) throws(MachineError) {
        let shifts: [Character: UInt64] = ["M": 20, "G": 30, "T": 40]
        guard let unit = text.last, let shift = shifts[unit], let number = UInt64(text.dropLast()),
            number <= Self.limits.upperBound >> shift, Self.limits.contains(number << shift)
        else { throw .refused("'\(text)' is no size of a disk: use 64M to 8T, such as 20G") }
        bytes = number << shift
    }

    public var description: String {
        for (unit, shift) in [("T", UInt64(40)), ("G", 30)] where bytes.isMultiple(of: 1 << shift) {
            return "\(bytes >> shift)\(unit)"
        }
        return "\(bytes >> 20)M"
    }
}
