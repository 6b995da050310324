// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

@testable import PenumbraVMM

/// Makes kernels as Xen PV guests have them, and bzImages around them.
struct KernelBuilder {
    static let virtualBase: UInt64 = 0xffff_ffff_8000_0000
    static let p2mAddress: UInt64 = 0x80_0000_0000

    /// Type, description.
    var notes: [(type: UInt32, content: [UInt8])] = [
        (1, (virtualBase + 0x100_0040).littleEndianBytes), (3, virtualBase.littleEndianBytes),
        (4, UInt64(0).littleEndianBytes), (5, Array("xen-3.0\0".utf8)), (15, p2mAddress.littleEndianBytes),
        (16, UInt64(1).littleEndianBytes),
    ]
    var content = Array("kernel".utf8)
    var size: UInt64 = 0x2345

    static func note(_ type: UInt32, _ content: [UInt8], owner: String = "Xen") -> [UInt8] {
        func padded(_ bytes: [UInt8]) -> [UInt8] {
            bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)
        }
        let name = Array(owner.utf8) + [0]
        return UInt32(name.count).littleEndianBytes + UInt32(content.count).littleEndianBytes
            + type.littleEndianBytes + padded(name) + padded(content)
    }

    mutating func set(_ type: UInt32, _ content: [UInt8]?) {
        notes.removeAll { $0.type == type }
        if let content { notes.append((type, content)) }
    }

    /// The program: one segment at 16 MiB and the notes, among them one of another owner.
    func elf() -> [UInt8] {
        let section =
            Self.note(1, Array(1...18), owner: "GNU") + notes.flatMap { Self.note($0.type, $0.content) }
        return elf(section: section)
    }

    func elf(section: [UInt8]) -> [UInt8] {
        var builder = ElfBuilder()
        builder.entry = 0x100_0000
        builder.segments = [
            .init(
                address: 0x100_0000, virtual: Self.virtualBase + 0x100_0000, content: content,
                memorySize: size),
            .init(type: 4, address: 0, content: section),
        ]
        return builder.build()
    }

    /// A bzImage of two setup sectors with this payload.
    static func bzImage(payload: [UInt8], version: UInt16 = 0x20f) -> [UInt8] {
        var file = [UInt8](repeating: 0, count: 3 * 512)
        file[0x1f1] = 2
        file = ElfBuilder.patch(file, at: 0x1fe, 0xaa55, size: 2)
        file.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
        file = ElfBuilder.patch(file, at: 0x206, UInt64(version), size: 2)
        file = ElfBuilder.patch(file, at: 0x248, 16, size: 4)
        file = ElfBuilder.patch(file, at: 0x24c, UInt64(payload.count), size: 4)
        return file + [UInt8](repeating: 0xee, count: 16) + payload
    }

    /// Debian's kernels, by path, where `make kernels` has fetched them.
    static let debianKernels: [String] = {
        let repository = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return ["6.1", "6.1-cloud", "6.12"].compactMap { kind in
            let boot = "/\(repository)/.build-cache/kernels/\(kind)/boot"
            return Files.list(boot).first { $0.hasPrefix("vmlinuz") }.map { "\(boot)/\($0)" }
        }
    }()
}
