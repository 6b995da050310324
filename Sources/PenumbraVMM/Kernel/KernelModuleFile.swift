// SPDX-License-Identifier: Apache-2.0

/// A module of a Linux kernel as its package has it: an ELF file, plain or compressed with xz.
public struct KernelModuleFile: Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case unsupported
        case damaged(String)
        case tooLarge(claimed: Int, limit: Int)

        public var description: String {
            switch self {
            case .unsupported: "it is neither an ELF file nor compressed with xz"
            case .damaged(let reason): "it is damaged: \(reason)"
            case .tooLarge(let claimed, let limit):
                "it claims to hold \(claimed >> 20) MiB, more than the \(limit >> 20) MiB that any module needs"
            }
        }
    }

    /// What claims to be larger is not unpacked.
    public static let sizeLimit = 64 << 20

    /// Uncompressed, its signature included.
    public let bytes: [UInt8]

    public init(_ file: [UInt8]) throws(Problem) {
        if ElfImage.isElf(file) {
            bytes = file
        } else if PayloadDecoder.format(of: file[...]) == .xz {
            bytes = try Self.unpack(file)
        } else {
            throw .unsupported
        }
    }

    private static func unpack(_ file: [UInt8]) throws(Problem) -> [UInt8] {
        guard let size = XzIndex.unpackedSize(of: file) else {
            throw .damaged("it has no index of its blocks")
        }
        guard size <= sizeLimit else { throw .tooLarge(claimed: size, limit: sizeLimit) }
        do { return try Xz().decode(file[...], to: size) } catch { throw .damaged(error.reason) }
    }

    /// What the module says of itself (linux/module.h, MODULE_INFO): KEY=VALUE, each ended by a zero
    /// byte. They are text that nothing else in the file looks like, so no section needs to be found.
    public func information(_ key: String) -> [String] {
        let prefix = [0] + Array("\(key)=".utf8)
        var values: [String] = []
        var start = 0
        while let place = bytes.firstPlace(of: prefix, from: start) {
            let value = bytes[(place + prefix.count)...].prefix { $0 != 0 }
            values.append(String(decoding: value, as: UTF8.self))
            start = place + prefix.count
        }
        return values
    }

    /// The modules that must be there before it, as it names them.
    public var needs: [String] {
        information("depends").flatMap { $0.split(separator: ",").map(String.init) }
    }
}

/// The end of a .xz file (The .xz File Format, 2.1.2 and 4): a footer that says how long the index before
/// it is, which says how much each block holds.
enum XzIndex {
    private static let footerSize = 12

    /// What a file of one stream unpacks to; nil if its end is none.
    static func unpackedSize(of file: [UInt8]) -> Int? {
        guard file.count >= footerSize, file.suffix(2) == [0x59, 0x5a],
            let backward = file.number(at: file.count - 8, as: UInt32.self)
        else { return nil }
        let size = (Int(backward) + 1) * 4
        guard size <= file.count - footerSize else { return nil }
        var index = file[(file.count - footerSize - size)..<(file.count - footerSize)]
        guard index.popFirst() == 0, let count = number(&index) else { return nil }
        var total = 0
        for _ in 0..<count {
            // The block's size in the file, then what it holds.
            guard number(&index) != nil, let held = number(&index) else { return nil }
            let (sum, overflow) = total.addingReportingOverflow(held)
            guard !overflow else { return nil }
            total = sum
        }
        return total
    }

    /// Seven bits to a byte, the lowest first, all but the last marked.
    private static func number(_ bytes: inout ArraySlice<UInt8>) -> Int? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 56, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return Int(exactly: value) }
        }
        return nil
    }
}

extension [UInt8] {
    /// Where `pattern` begins first, from `start` on.
    fileprivate func firstPlace(of pattern: [UInt8], from start: Int) -> Int? {
        guard count >= pattern.count else { return nil }
        return withUnsafeBufferPointer { bytes in
            // Within the buffer: the last place leaves room for the pattern.
            (start...Swift.max(start, count - pattern.count)).first { place in
                place + pattern.count <= bytes.count && bytes[place + 1] == pattern[1]
                    && bytes[place..<(place + pattern.count)].elementsEqual(pattern)
            }
        }
    }
}
