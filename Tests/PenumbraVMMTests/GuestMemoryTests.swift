// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import PenumbraVMM

@Suite struct GuestMemoryTests {
    @Test func theMemfdIsSealedInItsSize() throws {
        let memory = try GuestMemory(size: 1 << 20)
        #expect(ftruncate(memory.file.number, 4096) == -1 && errno == EPERM)
        #expect(ftruncate(memory.file.number, 2 << 20) == -1 && errno == EPERM)
    }

    @Test func accessesOutsideAreRefused() throws {
        let memory = try GuestMemory(size: 8192)
        try memory.store(1, at: GuestPhysical(8184))
        for address in [UInt64(8185), 8192, .max, .max - 7] {
            #expect(throws: VMMError.self) { try memory.store(1, at: GuestPhysical(address)) }
            #expect(throws: VMMError.self) { try memory.load(at: GuestPhysical(address)) }
        }
        #expect(throws: VMMError.self) { try memory.write([1, 2][...], at: GuestPhysical(8191)) }
        #expect(throws: VMMError.self) { try memory.read(8193, at: GuestPhysical(0)) }
        #expect(try memory.read(8192, at: GuestPhysical(0)).count == 8192)
    }

    @Test(arguments: [("1M", UInt64(1 << 20)), ("16m", 16 << 20), ("2048K", 2 << 20), ("64G", 64 << 30)])
    func sizesAreUnderstood(_ text: String, _ bytes: UInt64) throws {
        #expect(try MemorySize(text).bytes == bytes)
    }

    @Test(arguments: [
        "", "M", "16", "-1M", "0M", "1023K", "1025K", "65G", "99999999999999999999M", "18446744073709551615G",
        "1.5M",
    ])
    func otherSizesAreRefused(_ text: String) {
        #expect(throws: VMMError.badMemorySize(text)) { try MemorySize(text) }
    }
}
