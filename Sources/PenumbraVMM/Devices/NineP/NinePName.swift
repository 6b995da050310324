// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The name of a file in its directory: one component that leads nowhere else, of any bytes, as the C
/// library takes it. There is no "..": a guest's kernel knows the way up, and the directory that is
/// above one on the host may be outside the share by now.
struct NinePName: Equatable, Sendable {
    /// Linux' NAME_MAX.
    static let limit = 255

    /// Ends with a zero byte.
    let text: [CChar]

    init(_ bytes: [UInt8]) throws(NinePFailure) {
        guard bytes.count <= Self.limit else { throw NinePFailure(ENAMETOOLONG) }
        guard !bytes.isEmpty, !bytes.contains(0), !bytes.contains(UInt8(ascii: "/")),
            bytes != [UInt8(ascii: ".")], bytes != [UInt8(ascii: "."), UInt8(ascii: ".")]
        else { throw NinePFailure(EINVAL) }
        text = bytes.map { CChar(bitPattern: $0) } + [0]
    }
}
