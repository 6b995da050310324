// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct KernelModuleFileTests {
    private static let module =
        [0x7f] + Array("ELF\u{2}\u{1}\u{1}\0license=GPL\0depends=a,b_c\0alias=x\0alias=y\0name=n\0".utf8)

    @Test func informationIsFound() throws {
        let file = try KernelModuleFile(Self.module)
        #expect(file.bytes == Self.module && file.needs == ["a", "b_c"])
        #expect(file.information("alias") == ["x", "y"] && file.information("nosuch") == [])
    }

    @Test func compressedModulesAreUnpacked() throws {
        let packed = Array(Compressor.payload(.xz, Self.module).dropLast(4))
        #expect(XzIndex.unpackedSize(of: packed) == Self.module.count)
        #expect(try KernelModuleFile(packed).bytes == Self.module)
    }

    @Test func damageIsNoticed() throws {
        let packed = Array(Compressor.payload(.xz, Self.module).dropLast(4))
        for count in 6..<packed.count {
            #expect(throws: KernelModuleFile.Problem.self) {
                try KernelModuleFile(Array(packed.prefix(count)))
            }
        }
        for index in 6..<packed.count {
            var damaged = packed
            damaged[index] ^= 0xff
            #expect(throws: KernelModuleFile.Problem.self) { try KernelModuleFile(damaged) }
        }
        #expect(throws: KernelModuleFile.Problem.unsupported) { try KernelModuleFile([1, 2, 3]) }
        #expect(throws: KernelModuleFile.Problem.unsupported) { try KernelModuleFile([]) }
    }
}
