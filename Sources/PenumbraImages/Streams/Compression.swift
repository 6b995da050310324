// SPDX-License-Identifier: Apache-2.0

/// What a stream is packed with, told by its first bytes: media types lie, and docker's archives
/// have none.
enum Compression: String {
    case none, gzip, zstd

    static let magicLength = 4
    private static let unsupported: [(name: String, magic: [UInt8])] = [
        ("bzip2", [0x42, 0x5a, 0x68]), ("xz", [0xfd, 0x37, 0x7a, 0x58]), ("lz4", [0x04, 0x22, 0x4d, 0x18]),
    ]

    init(magic: [UInt8]) throws(ImageError) {
        if magic.starts(with: [0x1f, 0x8b]) {
            self = .gzip
        } else if magic.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
            self = .zstd
        } else if let other = Self.unsupported.first(where: { magic.starts(with: $0.magic) }) {
            throw .unsupported(
                "a stream packed with \(other.name)", "pack it with gzip or zstd, or not at all")
        } else {
            self = .none
        }
    }

    /// What `source` holds, unpacked.
    static func unpacking(_ source: ByteSource) throws -> ByteSource {
        let buffered = BufferedSource(source)
        switch try Compression(magic: buffered.peek(magicLength)) {
        case .none: return buffered
        case .gzip: return try GzipSource(buffered)
        case .zstd: return try ZstdSource(buffered)
        }
    }
}
