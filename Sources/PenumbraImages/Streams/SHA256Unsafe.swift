// SPDX-License-Identifier: Apache-2.0

/// SHA-256 (FIPS 180-4, section 6.2) of a stream.
struct SHA256 {
    private static let blockSize = 64

    /// Fractional parts of the square roots of the first eight primes (section 5.3.3).
    private var state: InlineArray<8, UInt32> = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab,
        0x5be0_cd19,
    ]
    /// Less than a block.
    private var pending: [UInt8] = []
    private var count: UInt64 = 0

    mutating func update(_ bytes: [UInt8]) {
        count += UInt64(bytes.count)
        var rest = bytes[...]
        if !pending.isEmpty {
            let missing = rest.prefix(Self.blockSize - pending.count)
            pending += missing
            rest = rest.dropFirst(missing.count)
            guard pending.count == Self.blockSize else { return }
            process(pending[...])
            pending = []
        }
        let whole = rest.count / Self.blockSize * Self.blockSize
        process(rest.prefix(whole))
        pending += rest.dropFirst(whole)
    }

    /// The digest of everything so far.
    func finished() -> Digest {
        var copy = self
        // Section 5.1.1: a one bit, zeros, and the length in bits as 64 bits.
        let zeros = (2 * Self.blockSize - 9 - pending.count) % Self.blockSize
        let bits = count * 8
        copy.update([0x80] + [UInt8](repeating: 0, count: zeros))
        copy.update((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) })
        var bytes: [UInt8] = []
        for index in copy.state.indices {
            for shift in [24, 16, 8, 0] as [UInt32] {
                bytes.append(UInt8(truncatingIfNeeded: copy.state[index] >> shift))
            }
        }
        return Digest(bytes: bytes)
    }

    /// A whole number of blocks.
    private mutating func process(_ blocks: ArraySlice<UInt8>) {
        blocks.withUnsafeBytes { buffer in
            Self.constants.withUnsafeBufferPointer { constants in
                for start in stride(from: 0, to: buffer.count, by: Self.blockSize) {
                    // Within the buffer: its size is a multiple of the block's.
                    compress(
                        UnsafeRawBufferPointer(rebasing: buffer[start..<(start + Self.blockSize)]), constants)
                }
            }
        }
    }

    /// One block of 64 bytes. The message schedule is computed as it is used, sixteen words at a time.
    private mutating func compress(_ block: UnsafeRawBufferPointer, _ constants: UnsafeBufferPointer<UInt32>)
    {
        var schedule = InlineArray<16, UInt32>(repeating: 0)
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for round in 0..<64 {
            let slot = round & 15
            if round < 16 {
                schedule[slot] = UInt32(
                    bigEndian: block.loadUnaligned(fromByteOffset: 4 * round, as: UInt32.self))
            } else {
                let (early, late) = (schedule[(round + 1) & 15], schedule[(round + 14) & 15])
                let sigma0 = rotate(early, 7) ^ rotate(early, 18) ^ early >> 3
                let sigma1 = rotate(late, 17) ^ rotate(late, 19) ^ late >> 10
                schedule[slot] = schedule[slot] &+ sigma0 &+ schedule[(round + 9) & 15] &+ sigma1
            }
            let sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
            let choice = (e & f) ^ (~e & g)
            let first = h &+ sum1 &+ choice &+ constants[round] &+ schedule[slot]
            let sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
            let majority = (a & b) ^ (a & c) ^ (b & c)
            (h, g, f, e) = (g, f, e, d &+ first)
            (d, c, b, a) = (c, b, a, first &+ sum0 &+ majority)
        }
        let added = [a, b, c, d, e, f, g, h] as InlineArray<8, UInt32>
        for index in state.indices { state[index] &+= added[index] }
    }

    @inline(__always) private func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
        word >> count | word << (32 - count)
    }

    /// Fractional parts of the cube roots of the first 64 primes (section 4.2.2).
    private static let constants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7,
        0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351,
        0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585,
        0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7,
        0xc671_78f2,
    ]
}
