// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import penumbra_init

@Suite struct TarHeaderTests {
    private static func header(_ change: (inout TarHeader) -> Void) -> TarHeader {
        var header = TarHeader()
        header.name = Array("name".utf8)
        header.mode = 0o4755
        change(&header)
        return header
    }

    static let all = [
        header { _ in }, header { $0.name = [UInt8](repeating: 0xfe, count: 100) },
        header { $0.name = [UInt8](repeating: 65, count: 101) },
        header {
            $0.name = [UInt8](repeating: 65, count: 5000); $0.kind = .directory
        },
        header {
            $0.link = [UInt8](repeating: 66, count: 300); $0.kind = .symbolicLink
        },
        header { $0.size = 0o7777_7777_777 }, header { $0.size = 1 << 40 },
        header {
            $0.user = 1000; $0.group = 0x1f_ffff
        },
        header {
            $0.user = .max - 1; $0.group = 0x20_0000
        },
        header {
            $0.kind = .characterDevice; $0.major = 1; $0.minor = 3
        }, header { $0.modified = 1_700_000_000 },
    ]

    /// What the bytes of an entry mean, with the records before it.
    private func read(_ bytes: [UInt8]) throws -> TarHeader? {
        var header = try TarHeader(Array(bytes.prefix(512)))
        guard let first = header, first.kind == .extended else { return header }
        header = try TarHeader(Array(bytes.suffix(512)))
        try header?.apply(records: Array(bytes[512..<(512 + Int(first.size))]))
        return header
    }

    @Test(arguments: all) func whatIsWrittenIsRead(_ header: TarHeader) throws {
        let bytes = header.bytes()
        #expect(bytes.count % 512 == 0)
        #expect(try read(bytes) == header)
    }

    @Test func recordsCountTheirOwnLength() {
        #expect(TarHeader.record("path", [120]) == Array("9 path=x\n".utf8))
        for length in 85...105 {
            let record = TarHeader.record("k", [UInt8](repeating: 120, count: length))
            let digits = String(decoding: record.prefix { $0 != 32 }, as: UTF8.self)
            #expect(Int(digits) == record.count)
        }
    }

    @Test func aBlockOfZerosIsTheEnd() throws {
        #expect(try TarHeader([UInt8](repeating: 0, count: 512)) == nil)
    }

    @Test func damageIsNoticed() {
        for index in [0, 99, 105, 124, 148, 156, 300] {
            var block = Self.all[0].bytes()
            block[index] ^= 0x15
            #expect(throws: TarHeader.Problem.self) { try TarHeader(block) }
        }
    }

    @Test(arguments: ["5", "99 path=x\n", "0 a=b\n", "x path=y\n", "13 size=-1xx\n"])
    func badRecordsAreRefused(_ text: String) {
        var header = TarHeader()
        #expect(throws: TarHeader.Problem.self) { try header.apply(records: Array(text.utf8)) }
    }
}
