// SPDX-License-Identifier: Apache-2.0
import CCompression

// Each call of a library below gets pointers into buffers that outlive the call, with their true
// sizes, and the libraries write within the sizes that they are given.

/// Makes an array of exactly `size` bytes of what `fill` writes; it gets both buffers, never empty,
/// and returns how many bytes it made and, on failure, why.
private func unpack(
    _ stream: ArraySlice<UInt8>, to size: Int,
    _ fill: (UnsafeBufferPointer<UInt8>, UnsafeMutableBufferPointer<UInt8>) -> Result<Int, DamagedStream>
) throws(DamagedStream) -> [UInt8] {
    var result: Result<Int, DamagedStream> = .success(0)
    // One byte of room at least, so that there is an address to give.
    let bytes = [UInt8](unsafeUninitializedCapacity: size + 1) { target, filled in
        let target = UnsafeMutableBufferPointer(rebasing: target[..<size])
        result = stream.withUnsafeBufferPointer { fill($0, target) }
        if case .success(let count) = result { filled = min(count, size) }
    }
    guard try result.get() == size else { throw .otherSize }
    return bytes
}

/// RFC 1952, through zlib.
struct Gzip: Decompressor {
    /// zlib.h, inflateInit2: the largest window, plus 16: a gzip header is expected.
    private static let windowBits: Int32 = 15 + 16

    func decode(_ stream: ArraySlice<UInt8>, to size: Int) throws(DamagedStream) -> [UInt8] {
        try unpack(stream, to: size) { source, target in
            var state = z_stream()
            guard
                inflateInit2_(&state, Self.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
                    == Z_OK
            else { return .failure(DamagedStream(reason: "zlib could not be started")) }
            defer { inflateEnd(&state) }
            // zlib reads only; both sizes are below 4 GiB: they come from 32-bit fields.
            state.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
            state.avail_in = UInt32(source.count)
            state.next_out = target.baseAddress
            state.avail_out = UInt32(target.count)
            let result = inflate(&state, Z_FINISH)
            switch result {
            case Z_STREAM_END where state.avail_in == 0: return .success(Int(state.total_out))
            case Z_STREAM_END: return .failure(DamagedStream(reason: "bytes follow its end"))
            case Z_BUF_ERROR: return .failure(.otherSize)
            default:
                let message = state.msg.map { String(cString: $0) }
                return .failure(DamagedStream(reason: message ?? "zlib's error \(result)"))
            }
        }
    }
}

/// The .xz format, through liblzma.
struct Xz: Decompressor {
    /// Enough for the largest dictionary that the kernel's build uses (128 MiB) and the decoder itself.
    private static let memoryLimit: UInt64 = 160 << 20

    func decode(_ stream: ArraySlice<UInt8>, to size: Int) throws(DamagedStream) -> [UInt8] {
        try unpack(stream, to: size) { source, target in
            var limit = Self.memoryLimit
            var (taken, made) = (0, 0)
            let result = lzma_stream_buffer_decode(
                &limit, 0, nil, source.baseAddress, &taken, source.count, target.baseAddress, &made,
                target.count)
            switch result {
            case LZMA_OK where taken == source.count: return .success(made)
            case LZMA_OK: return .failure(DamagedStream(reason: "bytes follow its end"))
            case LZMA_BUF_ERROR: return .failure(.otherSize)
            case LZMA_MEMLIMIT_ERROR:
                return .failure(DamagedStream(reason: "it needs \(limit >> 20) MiB to be unpacked"))
            default: return .failure(DamagedStream(reason: "liblzma's error \(result.rawValue)"))
            }
        }
    }
}

/// One frame of RFC 8878, through libzstd.
struct Zstd: Decompressor {
    func decode(_ stream: ArraySlice<UInt8>, to size: Int) throws(DamagedStream) -> [UInt8] {
        try unpack(stream, to: size) { source, target in
            let result = ZSTD_decompress(
                target.baseAddress, target.count, source.baseAddress, source.count)
            guard ZSTD_isError(result) == 0 else {
                return .failure(DamagedStream(reason: String(cString: ZSTD_getErrorName(result))))
            }
            return .success(result)
        }
    }
}

/// The legacy frame of the lz4 tool: a magic number, then blocks, each behind its compressed size;
/// all blocks but the last hold 8 MiB (lz4_Frame_format.md, "Legacy frame").
struct Lz4Legacy: Decompressor {
    private static let blockSize = 8 << 20
    private static let headerSize = 4

    func decode(_ stream: ArraySlice<UInt8>, to size: Int) throws(DamagedStream) -> [UInt8] {
        try unpack(stream, to: size) { source, target in
            Result { () throws(DamagedStream) in try Self.blocks(source, target) }
        }
    }

    private static func blocks(
        _ source: UnsafeBufferPointer<UInt8>, _ target: UnsafeMutableBufferPointer<UInt8>
    ) throws(DamagedStream) -> Int {
        var (taken, made) = (headerSize, 0)
        while taken < source.count {
            guard let length = source.number(at: taken, as: UInt32.self).map(Int.init),
                length > 0, length <= source.count - taken - headerSize
            else { throw DamagedStream(reason: "a block ends behind its end") }
            let block = UnsafeBufferPointer(rebasing: source[(taken + headerSize)...].prefix(length))
            let room = UnsafeMutableBufferPointer(rebasing: target[made...].prefix(blockSize))
            made += try Self.block(block, room)
            taken += headerSize + length
        }
        return made
    }

    private static func block(
        _ source: UnsafeBufferPointer<UInt8>, _ target: UnsafeMutableBufferPointer<UInt8>
    ) throws(DamagedStream) -> Int {
        guard let length = Int32(exactly: source.count) else {
            throw DamagedStream(reason: "a block is larger than 2 GiB")
        }
        let made = LZ4_decompress_safe(
            UnsafeRawPointer(source.baseAddress)?.assumingMemoryBound(to: CChar.self),
            UnsafeMutableRawPointer(target.baseAddress)?.assumingMemoryBound(to: CChar.self),
            length, Int32(target.count))
        guard made >= 0 else { throw DamagedStream(reason: "a block cannot be unpacked") }
        return Int(made)
    }
}
