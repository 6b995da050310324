// SPDX-License-Identifier: Apache-2.0

/// What a kernel's ELF notes say about its start as a Xen PV guest (Xen's public/elfnote.h).
public struct XenNotes: Equatable, Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case none
        case missing(String)
        case badSize(note: UInt32, size: Int)
        case truncated
        case offset(UInt64)

        public var description: String {
            switch self {
            case .none:
                "it carries no Xen PV notes, so it cannot run as a Xen PV guest: use a kernel with "
                    + "CONFIG_XEN_PV, such as Debian's linux-image packages"
            case .missing(let name): "its Xen notes lack \(name), which a PV guest must have"
            case .badSize(let note, let size): "its Xen note \(note) has an impossible size, \(size) bytes"
            case .truncated: "its notes end in the middle of one"
            case .offset(let value):
                "its Xen note PADDR_OFFSET is 0x\(String(value, radix: 16)); only 0 is supported"
            }
        }
    }

    private enum Kind: UInt32 {
        case entry = 1
        case hypercallPage = 2
        case virtualBase = 3
        case physicalOffset = 4
        case initialP2M = 15
        case moduleIsFrame = 16
    }

    private static let owner = Array("Xen\0".utf8)
    private static let headerSize = 12

    let entry: UInt64
    /// The virtual address of pseudo-physical zero.
    let virtualBase: UInt64
    /// A page of the kernel's that the loader fills with hypercall stubs.
    let hypercallPage: UInt64?
    /// Where the kernel wants its frame list; nil: next to the kernel.
    let initialP2M: UInt64?
    /// The initial RAM disk need not be mapped.
    let moduleIsFrame: Bool

    init(_ program: ElfImage) throws(Problem) {
        var values: [UInt32: UInt64] = [:]
        for range in program.notes { try Self.collect(program.bytes[range], into: &values) }
        // A kernel for PVH only carries notes of Xen's too, but none of these.
        guard values[Kind.entry.rawValue] != nil || values[Kind.virtualBase.rawValue] != nil else {
            throw .none
        }
        func value(_ kind: Kind) -> UInt64? { values[kind.rawValue] }
        guard let entry = value(.entry) else { throw .missing("ENTRY") }
        guard let virtualBase = value(.virtualBase) else { throw .missing("VIRT_BASE") }
        if let offset = value(.physicalOffset), offset != 0 { throw .offset(offset) }
        self.entry = entry
        self.virtualBase = virtualBase
        hypercallPage = value(.hypercallPage)
        initialP2M = value(.initialP2M)
        moduleIsFrame = value(.moduleIsFrame).map { $0 != 0 } ?? false
    }

    /// Notes follow one another: three 32-bit numbers (sizes of name and description, type), the
    /// name, the description, each padded to four bytes.
    private static func collect(
        _ section: ArraySlice<UInt8>, into values: inout [UInt32: UInt64]
    ) throws(Problem) {
        var offset = 0
        while offset < section.count {
            guard let nameSize = section.number(at: offset, as: UInt32.self),
                let size = section.number(at: offset + 4, as: UInt32.self),
                let type = section.number(at: offset + 8, as: UInt32.self)
            else { throw .truncated }
            let name = offset + headerSize
            let description = name + padded(nameSize)
            guard description + Int(size) <= section.count else { throw .truncated }
            let content = section.dropFirst(description).prefix(Int(size))
            if section.dropFirst(name).prefix(Int(nameSize)).elementsEqual(owner), Kind(rawValue: type) != nil
            {
                values[type] = try number(content, note: type)
            }
            offset = description + padded(size)
        }
    }

    private static func padded(_ size: UInt32) -> Int { (Int(size) + 3) & ~3 }

    private static func number(_ content: ArraySlice<UInt8>, note: UInt32) throws(Problem) -> UInt64 {
        switch content.count {
        case 4: UInt64(content.number(at: 0, as: UInt32.self)!)
        case 8: content.number(at: 0, as: UInt64.self)!
        default: throw .badSize(note: note, size: content.count)
        }
    }
}
