// SPDX-License-Identifier: Apache-2.0

/// The parts of interface/penumbra/address_map.h that the rules need.
enum AddressMap {
    /// Top-level slot 261.
    static let slot: ClosedRange<UInt64> = 0xffff_8280_0000_0000...0xffff_82ff_ffff_ffff
    /// Where the image may lie.
    static let image: Range<UInt64> = 0xffff_8280_0000_0000..<0xffff_8280_4000_0000
    /// The vCPU areas, whose entry pages are in both views.
    static let vCPUs: Range<UInt64> = 0xffff_8280_4000_0000..<0xffff_8280_8000_0000
}
