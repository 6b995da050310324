// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// A container's own disk, which takes what it writes: a sparse file with ext4.
public enum WritableLayer {
    /// In bytes; the host gives room as the container writes.
    public static let size: UInt64 = 10 << 30

    public static func make(at path: String) throws {
        let file = try Descriptor(path: path, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        try retrying("ftruncate", path) { Int(ftruncate(file.number, off_t(size))) }
        guard let program = Files.program("mke2fs") else {
            throw ContainerError.missingProgram(name: "mke2fs", package: "e2fsprogs")
        }
        let null = try Descriptor(path: "/dev/null", flags: O_RDWR)
        // The tables are not written, since a new file reads as zeros; no room is kept for root, and there
        // is nothing to keep the host's disk from.
        let child = try ChildProcess(
            program: program,
            arguments: [
                "-q", "-F", "-t", "ext4", "-m", "0", "-E", "assume_storage_prezeroed=1", path,
            ], descriptors: [(null.number, 0), (null.number, 1)]
        ).spawn()
        let end = try ChildProcess.wait(for: child)
        guard end == .exited(0) else {
            throw ContainerError.refused(
                "mke2fs failed on the container's disk (status \(end.exitCode)): is there room at \(path)?")
        }
        try retrying("fsync", path) { Int(fsync(file.number)) }
    }
}
