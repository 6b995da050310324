// SPDX-License-Identifier: Apache-2.0

/// Makes ELF files to load, and to damage.
struct ElfBuilder {
    struct Segment {
        var type: UInt32 = 1
        var address: UInt64
        var virtual: UInt64?
        var content: [UInt8] = []
        var memorySize: UInt64?
    }

    static let (typeOffset, machineOffset, entryOffset, tableOffset, countOffset) = (16, 18, 24, 32, 56)

    var entry: UInt64 = 0x100000
    var segments = [Segment(address: 0x100000, content: Array(1...100), memorySize: 8192)]

    /// The offset of a program header in the file.
    static func header(_ index: Int) -> Int { 64 + 56 * index }

    func build() -> [UInt8] {
        var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9)
        func number(_ value: UInt64, _ size: Int) -> [UInt8] {
            (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
        }
        file += number(2, 2) + number(62, 2) + number(1, 4) + number(entry, 8) + number(64, 8) + number(0, 8)
        file += number(0, 4) + number(64, 2) + number(56, 2) + number(UInt64(segments.count), 2)
        file += number(64, 2) + number(0, 2) + number(0, 2)
        var offset = UInt64(Self.header(segments.count))
        for segment in segments {
            let size = UInt64(segment.content.count)
            file += number(UInt64(segment.type), 4) + number(7, 4) + number(offset, 8)
            file += number(segment.virtual ?? segment.address, 8) + number(segment.address, 8)
            file += number(size, 8) + number(segment.memorySize ?? size, 8) + number(4096, 8)
            offset += size
        }
        return file + segments.flatMap(\.content)
    }

    /// Replaces bytes of a built file.
    static func patch(_ file: [UInt8], at offset: Int, _ value: UInt64, size: Int) -> [UInt8] {
        var file = file
        for index in 0..<size {
            file[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
        }
        return file
    }
}
