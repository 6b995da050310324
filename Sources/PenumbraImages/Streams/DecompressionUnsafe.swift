// SPDX-License-Identifier: Apache-2.0
import CCompression

// The libraries below get pointers into arrays that outlive each call, with the arrays' true sizes,
// and read and write within those sizes. Their states live at an address of their own, since zlib
// compares a state's address with the one that it was initialized at.

/// RFC 1952, one member after another, through zlib.
final class GzipSource: ByteSource {
    /// zlib.h, inflateInit2: the largest window, plus 16: a gzip header is expected.
    private static let windowBits: Int32 = 15 + 16

    private let source: BufferedSource
    private let state: UnsafeMutablePointer<z_stream>
    private var input: [UInt8] = []
    /// Of `input`, what zlib has taken.
    private var taken = 0
    private var isBetweenMembers = false

    init(_ source: BufferedSource) throws(ImageError) {
        self.source = source
        state = .allocate(capacity: 1)
        state.initialize(to: z_stream())
        let result = inflateInit2_(
            state, Self.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard result == Z_OK else { throw .damaged("a gzip stream", "zlib could not be started") }
    }

    deinit {
        inflateEnd(state)
        state.deallocate()
    }

    func read(atMost count: Int) throws -> [UInt8] {
        while true {
            if taken == input.count {
                (input, taken) = (try source.read(atMost: StreamSize.chunk), 0)
                if input.isEmpty {
                    guard isBetweenMembers else { throw ImageError.damaged("a gzip stream", "it is cut off") }
                    return []
                }
            }
            if isBetweenMembers {
                inflateReset(state)
                isBetweenMembers = false
            }
            let bytes = try inflate(atMost: count)
            if !bytes.isEmpty { return bytes }
        }
    }

    private func inflate(atMost count: Int) throws(ImageError) -> [UInt8] {
        var result = Z_OK
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            input.withUnsafeMutableBufferPointer { source in
                // `count` and a chunk are far below 4 GiB.
                state.pointee.next_in = source.baseAddress?.advanced(by: taken)
                state.pointee.avail_in = UInt32(source.count - taken)
                state.pointee.next_out = target.baseAddress
                state.pointee.avail_out = UInt32(count)
                result = CCompression.inflate(state, Z_NO_FLUSH)
                taken = source.count - Int(state.pointee.avail_in)
                filled = count - Int(state.pointee.avail_out)
            }
        }
        switch result {
        case Z_STREAM_END: isBetweenMembers = true
        case Z_OK, Z_BUF_ERROR: break
        default:
            let message = state.pointee.msg.map { String(cString: $0) }
            throw .damaged("a gzip stream", message ?? "zlib's error \(result)")
        }
        return bytes
    }
}

/// Frames of RFC 8878, one after another, through libzstd, which bounds their windows at 128 MiB.
final class ZstdSource: ByteSource {
    private let source: BufferedSource
    private let state: OpaquePointer
    private var input: [UInt8] = []
    private var taken = 0
    private var isBetweenFrames = true

    init(_ source: BufferedSource) throws(ImageError) {
        guard let state = ZSTD_createDStream() else {
            throw .damaged("a zstd stream", "libzstd could not be started")
        }
        (self.source, self.state) = (source, state)
    }

    deinit { ZSTD_freeDStream(state) }

    func read(atMost count: Int) throws -> [UInt8] {
        while true {
            // What libzstd still holds comes without more input.
            let bytes = try decompress(atMost: count)
            if !bytes.isEmpty { return bytes }
            guard taken == input.count else { continue }
            (input, taken) = (try source.read(atMost: StreamSize.chunk), 0)
            if input.isEmpty {
                guard isBetweenFrames else { throw ImageError.damaged("a zstd stream", "it is cut off") }
                return []
            }
        }
    }

    private func decompress(atMost count: Int) throws(ImageError) -> [UInt8] {
        var result = 0
        let wasTaken = taken
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            input.withUnsafeBytes { source in
                var from = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: taken)
                var to = ZSTD_outBuffer(dst: target.baseAddress, size: count, pos: 0)
                result = ZSTD_decompressStream(state, &to, &from)
                (taken, filled) = (from.pos, to.pos)
            }
        }
        guard ZSTD_isError(result) == 0 else {
            throw .damaged("a zstd stream", String(cString: ZSTD_getErrorName(result)))
        }
        // A call that neither takes nor gives says nothing of where the stream is.
        if taken > wasTaken || !bytes.isEmpty { isBetweenFrames = result == 0 }
        return bytes
    }
}

/// One block, by itself, in a frame of RFC 8878.
final class ZstdCompressor {
    private let state: OpaquePointer
    private let level: Int32

    /// Levels as zstd(1) counts them.
    init(level: Int32) throws(ImageError) {
        guard let state = ZSTD_createCCtx() else {
            throw .damaged("a zstd stream", "libzstd could not be started")
        }
        (self.state, self.level) = (state, level)
    }

    deinit { ZSTD_freeCCtx(state) }

    /// nil where the block would not become smaller.
    func compress(_ block: ArraySlice<UInt8>) -> [UInt8]? {
        var result = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: block.count) { target, filled in
            block.withUnsafeBytes { source in
                result = ZSTD_compressCCtx(
                    state, target.baseAddress, target.count, source.baseAddress, source.count, level)
            }
            filled = ZSTD_isError(result) == 0 ? result : 0
        }
        // It fails where the target, as large as the block, is too small.
        return bytes.isEmpty || bytes.count >= block.count ? nil : bytes
    }
}
