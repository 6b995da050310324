// SPDX-License-Identifier: Apache-2.0

extension ElfImage {
    /// The same program in a smaller file: segments without the zeros at their ends, which memory has
    /// anyway, then the notes; no sections. A kernel's file holds its zeroed data too (objcopy puts it
    /// there when something follows it): 20 of Debian's 66 MB, which each start would read, and each guest's
    /// memory would hold.
    public var compacted: [UInt8] {
        let contents = segments.map { bytes[$0.content].withoutTrailingZeros } + notes.map { bytes[$0] }
        var offset = Self.headerSize + contents.count * Self.programHeaderSize
        var file = Array(bytes.prefix(Self.headerSize))
        // The program headers follow; there is no table of sections.
        file.put(UInt64(Self.headerSize), at: 32)
        file.put(UInt64(0), at: 40)
        file.put(UInt16(contents.count), at: 56)
        file.put(UInt64(0), at: 58, size: 6)
        for (index, content) in contents.enumerated() {
            let segment = index < segments.count ? segments[index] : nil
            file += Self.programHeader(segment, offset: offset, size: content.count)
            offset += content.count
        }
        return file + contents.joined()
    }

    /// Of a segment, or of notes. Flags: read, write and execute; who loads a kernel maps it by its notes.
    private static func programHeader(_ segment: Segment?, offset: Int, size: Int) -> [UInt8] {
        let type = segment == nil ? note : load
        let fields: [UInt64] = [
            UInt64(offset), segment?.virtual ?? 0, segment?.physical.value ?? 0, UInt64(size),
            segment?.memorySize ?? UInt64(size), 1,
        ]
        return type.littleEndianBytes + UInt32(7).littleEndianBytes + fields.flatMap(\.littleEndianBytes)
    }
}

extension ArraySlice<UInt8> {
    fileprivate var withoutTrailingZeros: ArraySlice<UInt8> {
        self[..<(lastIndex { $0 != 0 }.map { $0 + 1 } ?? startIndex)]
    }
}

extension [UInt8] {
    fileprivate mutating func put<Number: FixedWidthInteger>(
        _ number: Number, at offset: Int, size: Int = MemoryLayout<Number>.size
    ) {
        replaceSubrange(offset..<(offset + size), with: number.littleEndianBytes.prefix(size))
    }
}
