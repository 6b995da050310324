// SPDX-License-Identifier: Apache-2.0

/// Unpacks the compressed kernel of a bzImage. Whatever the compression, the payload's last four
/// bytes are the size of what it holds (gzip's own trailer, or appended by the kernel's build), so
/// the space is known, and checked against a limit, before a byte is unpacked; a stream that wants
/// more, or gives less, is damaged.
public enum PayloadDecoder {
    public enum Format: String, Sendable {
        case gzip, xz, lz4, zstd, bzip2, lzma, lzo

        /// First bytes, as in the kernel's lib/decompress.c.
        static let magics: [(format: Format, bytes: [UInt8])] = [
            (.gzip, [0x1f, 0x8b]), (.xz, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
            (.lz4, [0x02, 0x21, 0x4c, 0x18]), (.zstd, [0x28, 0xb5, 0x2f, 0xfd]),
            (.bzip2, [0x42, 0x5a, 0x68]), (.lzma, [0x5d, 0x00]), (.lzo, [0x89, 0x4c, 0x5a, 0x4f]),
        ]
    }

    public enum Problem: Error, Equatable, CustomStringConvertible {
        case unknownFormat
        case unsupported(Format)
        case tooLarge(claimed: Int, limit: Int)
        case truncated
        case damaged(Format, String)

        public var description: String {
            switch self {
            case .unknownFormat: "its compressed kernel begins like no known format"
            case .unsupported(let format):
                "its kernel is compressed with \(format.rawValue), which is not supported: "
                    + "use one with gzip, xz, lz4 or zstd, or the plain vmlinux"
            case .tooLarge(let claimed, let limit):
                "its compressed kernel claims to hold \(claimed >> 20) MiB, more than the "
                    + "\(limit >> 20) MiB that any kernel needs"
            case .truncated: "its compressed kernel is too short to hold anything"
            case .damaged(let format, let reason):
                "its compressed kernel (\(format.rawValue)) is damaged: \(reason)"
            }
        }
    }

    private static let trailerSize = 4

    static func format(of payload: ArraySlice<UInt8>) -> Format? {
        Format.magics.first { payload.starts(with: $0.bytes) }?.format
    }

    /// Unpacks to at most `limit` bytes.
    public static func decode(_ payload: ArraySlice<UInt8>, limit: Int) throws(Problem) -> [UInt8] {
        guard let format = format(of: payload) else { throw .unknownFormat }
        guard payload.count >= 2 * trailerSize,
            let claimed = payload.number(at: payload.count - trailerSize, as: UInt32.self)
        else { throw .truncated }
        guard claimed <= limit else { throw .tooLarge(claimed: Int(claimed), limit: limit) }
        let decoder: Decompressor
        switch format {
        case .gzip: decoder = Gzip()
        case .xz: decoder = Xz()
        case .lz4: decoder = Lz4Legacy()
        case .zstd: decoder = Zstd()
        case .bzip2, .lzma, .lzo: throw .unsupported(format)
        }
        // gzip ends with its own size, the other streams before the one that was appended.
        let stream = format == .gzip ? payload : payload.dropLast(trailerSize)
        do { return try decoder.decode(stream, to: Int(claimed)) } catch {
            throw .damaged(format, error.reason)
        }
    }
}

struct DamagedStream: Error {
    let reason: String

    static let otherSize = DamagedStream(reason: "it holds another amount than it says")
}

protocol Decompressor {
    /// Unpacks exactly `size` bytes from all of `stream`, or throws.
    func decode(_ stream: ArraySlice<UInt8>, to size: Int) throws(DamagedStream) -> [UInt8]
}
