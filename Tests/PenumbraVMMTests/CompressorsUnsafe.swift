// SPDX-License-Identifier: Apache-2.0
import CCompression

@testable import PenumbraVMM

/// Makes payloads as the kernel's build does: compressed, then the size, but for gzip, which has it.
enum Compressor {
    static func payload(_ format: PayloadDecoder.Format, _ content: [UInt8]) -> [UInt8] {
        let trailer = UInt32(content.count).littleEndianBytes
        return switch format {
        case .gzip: gzip(content)
        case .xz: xz(content) + trailer
        case .lz4: lz4(content) + trailer
        case .zstd: zstd(content) + trailer
        case .bzip2, .lzma, .lzo:
            PayloadDecoder.Format.magics.first { $0.format == format }!.bytes + content + trailer
        }
    }

    private static func fill(
        _ content: [UInt8], _ body: (UnsafeBufferPointer<UInt8>, UnsafeMutableBufferPointer<UInt8>) -> Int
    ) -> [UInt8] {
        // Every format's worst case is far below twice the content and a page.
        [UInt8](unsafeUninitializedCapacity: content.count * 2 + 4096) { target, filled in
            filled = content.withUnsafeBufferPointer { body($0, target) }
        }
    }

    private static func gzip(_ content: [UInt8]) -> [UInt8] {
        fill(content) { source, target in
            var state = z_stream()
            let size = Int32(MemoryLayout<z_stream>.size)
            deflateInit2_(&state, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size)
            state.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
            state.avail_in = UInt32(source.count)
            state.next_out = target.baseAddress
            state.avail_out = UInt32(target.count)
            deflate(&state, Z_FINISH)
            deflateEnd(&state)
            return Int(state.total_out)
        }
    }

    private static func xz(_ content: [UInt8]) -> [UInt8] {
        fill(content) { source, target in
            var made = 0
            lzma_easy_buffer_encode(
                6, LZMA_CHECK_CRC32, nil, source.baseAddress, source.count, target.baseAddress, &made,
                target.count)
            return made
        }
    }

    private static func zstd(_ content: [UInt8]) -> [UInt8] {
        fill(content) { source, target in
            ZSTD_compress(target.baseAddress, target.count, source.baseAddress, source.count, 19)
        }
    }

    /// Blocks of 8 MiB, as `lz4 -l` makes them.
    private static func lz4(_ content: [UInt8]) -> [UInt8] {
        var result: [UInt8] = [0x02, 0x21, 0x4c, 0x18]
        for start in stride(from: 0, to: content.count, by: 8 << 20) {
            let block = Array(content[start..<min(start + 8 << 20, content.count)])
            let packed = fill(block) { source, target in
                source.withMemoryRebound(to: CChar.self) { source in
                    target.withMemoryRebound(to: CChar.self) { target in
                        Int(
                            LZ4_compress_default(
                                source.baseAddress, target.baseAddress, Int32(source.count),
                                Int32(target.count)))
                    }
                }
            }
            result += UInt32(packed.count).littleEndianBytes + packed
        }
        return result
    }
}
