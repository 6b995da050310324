// SPDX-License-Identifier: Apache-2.0

/// The container of a compressed Linux kernel (Documentation/arch/x86/boot.rst, "The Real-Mode
/// Kernel Header").
public enum BzImage {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case oldProtocol(UInt16)
        case truncated(wanted: Int, size: Int)
        case noPayload

        public var description: String {
            switch self {
            case .oldProtocol(let version):
                "its boot protocol is \(version >> 8).\(version & 0xff), older than 2.8: "
                    + "use a kernel of 2008 or later"
            case .truncated(let wanted, let size):
                "it is truncated: \(size) bytes, its header speaks of \(wanted)"
            case .noPayload: "its header names no compressed kernel"
            }
        }
    }

    /// Offsets in the file.
    private static let (setupSectors, bootFlag, magic, version) = (0x1f1, 0x1fe, 0x202, 0x206)
    private static let (payloadOffset, payloadLength) = (0x248, 0x24c)
    private static let sectorSize = 512
    /// The first version with the payload's place in the header.
    private static let oldestVersion: UInt16 = 0x208

    static func isBzImage(_ file: [UInt8]) -> Bool {
        file.number(at: bootFlag, as: UInt16.self) == 0xaa55
            && file.dropFirst(magic).starts(with: Array("HdrS".utf8))
    }

    /// The compressed kernel within a file that `isBzImage`.
    static func payload(of file: [UInt8]) throws(Problem) -> ArraySlice<UInt8> {
        let version = try field(file, version, as: UInt16.self)
        guard version >= oldestVersion else { throw .oldProtocol(version) }
        // boot.rst: zero stands for four.
        let sectors = try field(file, setupSectors, as: UInt8.self)
        let setupSize = (Int(sectors == 0 ? 4 : sectors) + 1) * sectorSize
        // Sums of three 32-bit numbers at most: they fit.
        let start = setupSize + Int(try field(file, payloadOffset, as: UInt32.self))
        let length = Int(try field(file, payloadLength, as: UInt32.self))
        guard length > 0 else { throw .noPayload }
        guard start + length <= file.count else {
            throw .truncated(wanted: start + length, size: file.count)
        }
        return file[start..<(start + length)]
    }

    private static func field<Number: FixedWidthInteger>(
        _ file: [UInt8], _ offset: Int, as: Number.Type
    ) throws(Problem) -> Number {
        guard let value = file.number(at: offset, as: Number.self) else {
            throw .truncated(wanted: offset + Number.bitWidth / 8, size: file.count)
        }
        return value
    }
}
