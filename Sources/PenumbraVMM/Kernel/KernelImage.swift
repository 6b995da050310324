// SPDX-License-Identifier: Apache-2.0

/// A kernel to boot: an ELF program, plain or in a Linux bzImage, with the notes that say how a Xen
/// PV guest starts. Nothing in the file is trusted.
public struct KernelImage: Sendable {
    public enum Problem: Error, Equatable, CustomStringConvertible {
        case unknownFormat
        case bzImage(BzImage.Problem)
        case payload(PayloadDecoder.Problem)
        case elf(ElfImage.Problem)
        case notes(XenNotes.Problem)

        public var description: String {
            switch self {
            case .unknownFormat: "it is neither a Linux bzImage (vmlinuz) nor an ELF program"
            case .bzImage(let problem): "\(problem)"
            case .payload(let problem): "\(problem)"
            case .elf(let problem): "the program in it cannot be loaded: \(problem)"
            case .notes(let problem): "\(problem)"
            }
        }
    }

    /// No kernel is larger; what claims to be is not unpacked.
    public static let sizeLimit = 512 << 20

    let program: ElfImage
    let notes: XenNotes

    /// Every segment must end below `memoryLimit`.
    public init(_ file: [UInt8], memoryLimit: UInt64) throws(Problem) {
        program = try Self.program(in: file, memoryLimit: memoryLimit)
        do { notes = try XenNotes(program) } catch { throw .notes(error) }
    }

    private static func program(in file: [UInt8], memoryLimit: UInt64) throws(Problem) -> ElfImage {
        let bytes = try elfFile(in: file)
        do { return try ElfImage(bytes, limit: memoryLimit) } catch { throw .elf(error) }
    }

    /// The ELF program that a kernel file is or holds, as a file that holds no more than has to be read.
    public static func compactProgram(in file: [UInt8]) throws(Problem) -> [UInt8] {
        try program(in: file, memoryLimit: UInt64(sizeLimit)).compacted
    }

    private static func elfFile(in file: [UInt8]) throws(Problem) -> [UInt8] {
        if ElfImage.isElf(file) { return file }
        guard BzImage.isBzImage(file) else { throw .unknownFormat }
        let payload: ArraySlice<UInt8>
        do { payload = try BzImage.payload(of: file) } catch { throw .bzImage(error) }
        do { return try PayloadDecoder.decode(payload, limit: sizeLimit) } catch { throw .payload(error) }
    }
}
