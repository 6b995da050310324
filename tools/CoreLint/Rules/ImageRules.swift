// SPDX-License-Identifier: Apache-2.0

/// The image is mapped once, read-only, for all VMs, at one address: it has no writable data,
/// needs no loader and stays in its window.
enum ImageRules {
    static func check(_ image: ELFImage, _ ledger: inout Ledger) {
        if image.type != 2 {
            ledger.report(
                Finding(
                    .image, "the file is not a statically linked executable (e_type \(image.type))",
                    remedy: "link with `ld.lld -static` and without -r, -shared or -pie"))
        }
        checkSections(image, &ledger)
        checkSegments(image, &ledger)
        for symbol in image.symbols where symbol.sectionIndex == 0 && !symbol.name.isEmpty {
            ledger.report(
                Finding(
                    .undefined, "\(symbol.name) is not defined",
                    remedy: "define it in the image; there is no loader to bind it"))
        }
    }

    private static func checkSections(_ image: ELFImage, _ ledger: inout Ledger) {
        for section in image.sections where section.size > 0 {
            if section.isRelocation {
                ledger.report(
                    Finding(
                        .image, "\(section.name) holds relocations",
                        remedy: "link statically at the final address, without --emit-relocs"))
            }
            guard section.isAllocated else { continue }
            if section.isWritable, !ledger.excuses(.section, named: section.name) {
                ledger.report(
                    Finding(
                        .image, "\(section.name) is writable and holds \(section.size) bytes",
                        remedy: "make globals constants; state belongs to the VM's and vCPU's state pages"))
            }
            if !fits(section.address, section.size) {
                ledger.report(
                    Finding(
                        .image,
                        "\(section.name) at 0x\(String(section.address, radix: 16)) is outside the image's window",
                        remedy: "place it between PENUMBRA_CORE_IMAGE and PENUMBRA_CORE_VCPUS"))
            }
        }
    }

    private static func checkSegments(_ image: ELFImage, _ ledger: inout Ledger) {
        for segment in image.segments where segment.isLoaded {
            let name = "the segment at 0x" + String(segment.address, radix: 16)
            if segment.isWritable && segment.isExecutable {
                ledger.report(
                    Finding(
                        .image, "\(name) is writable and executable", remedy: "separate code from data"))
            }
            if segment.size > 0 && !fits(segment.address, segment.size) {
                ledger.report(
                    Finding(
                        .image, "\(name) is outside the image's window",
                        remedy: "check the start address and the size in the linker script"))
            }
        }
        let names: [UInt32: String] = [2: "PT_DYNAMIC", 3: "PT_INTERP", 7: "PT_TLS"]
        for segment in image.segments {
            guard let name = names[segment.type] else { continue }
            ledger.report(
                Finding(
                    .image, "the image has a \(name) segment",
                    remedy: "link statically and use no thread-local storage; nothing loads this image"))
        }
    }

    private static func fits(_ address: UInt64, _ size: UInt64) -> Bool {
        AddressMap.image.contains(address) && size <= AddressMap.image.upperBound - address
    }
}
