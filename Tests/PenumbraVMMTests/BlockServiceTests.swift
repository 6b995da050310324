// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraVMM

/// Requests as a driver puts them into its ring.
enum BlockRequests {
    typealias Segment = (reference: UInt32, first: UInt32, last: UInt32)

    static func direct(
        _ operation: UInt32, sector: UInt64, _ segments: [Segment], count: Int? = nil, identifier: UInt64 = 77
    ) -> [UInt32] {
        var words = [UInt32](repeating: 0, count: 28)
        words[0] = operation | UInt32(count ?? segments.count) << 8
        (words[2], words[3]) = halves(identifier)
        (words[4], words[5]) = halves(sector)
        for (index, segment) in segments.prefix(11).enumerated() {
            (words[6 + index * 2], words[7 + index * 2]) = (
                segment.reference, segment.first | segment.last << 8
            )
        }
        return words
    }

    static func indirect(
        _ operation: UInt32, sector: UInt64, count: Int, page: UInt32, identifier: UInt64 = 77
    ) -> [UInt32] {
        var words = direct(6 | operation << 8, sector: sector, [], count: 0, identifier: identifier)
        words[0] |= UInt32(count) << 16
        words[7] = page
        return words
    }

    static func discard(sector: UInt64, count: UInt64, isSecure: Bool = false) -> [UInt32] {
        var words = direct(5, sector: sector, [], count: isSecure ? 1 : 0)
        (words[6], words[7]) = halves(count)
        return words
    }

    static func halves(_ number: UInt64) -> (UInt32, UInt32) {
        (UInt32(truncatingIfNeeded: number), UInt32(number >> 32))
    }
}

@Suite struct BlockServiceTests {
    private static let sectors: UInt64 = 64
    private static let whole: [BlockRequests.Segment] = [(10, 0, 7)]

    private let driver: GuestDriver
    private let folder: TemporaryDirectory
    private let path: String

    init() throws {
        driver = try GuestDriver()
        folder = try TemporaryDirectory()
        path = folder.path + "/disk"
        // Each sector is full of its own number.
        try Files.write((0..<UInt8(Self.sectors)).flatMap { [UInt8](repeating: $0, count: 512) }, to: path)
        for reference in 10..<20 as Range<UInt32> { try driver.grant(reference) }
    }

    private final class Reports: Sendable {
        let lines = Mutex<[String]>([])
    }

    private func service(readOnly: Bool = false, reports: Reports = Reports()) throws -> BlockService {
        BlockService(
            try DiskFile(Disk(path: path, isReadOnly: readOnly, index: 0)), grants: driver.grants
        ) { line in reports.lines.withLock { $0.append(line) } }
    }

    private func status(
        of request: [UInt32], by service: BlockService? = nil
    ) throws -> BlockRequest.Status? {
        try (service ?? self.service()).serve(BlockRequest(request), mayWait: true)
    }

    private func file() throws -> [UInt8] { try Files.read(path) }

    // MARK: What works

    @Test func aReadFillsTheGrantedSectors() throws {
        try driver.fill(frame: 10, with: 0xee)
        #expect(try status(of: BlockRequests.direct(0, sector: 5, [(10, 2, 4)])) == .done)
        let expected = (0..<8).flatMap { sector in
            [UInt8](repeating: (2...4).contains(sector) ? UInt8(sector + 3) : 0xee, count: 512)
        }
        #expect(try driver.bytes(frame: 10) == expected)
        #expect(try !driver.isInUse(10))
    }

    @Test func aWriteTakesSegmentsInTheirOrder() throws {
        try driver.fill(frame: 10, with: 0xaa)
        try driver.fill(frame: 12, with: 0xbb)
        try driver.grant(12, .read)
        #expect(try status(of: BlockRequests.direct(1, sector: 1, [(12, 7, 7), (10, 0, 1)])) == .done)
        let sectors = try file()
        #expect([0, 512, 1024, 1536, 2048].map { sectors[$0] } == [0, 0xbb, 0xaa, 0xaa, 4])
    }

    @Test func indirectSegmentsComeFromTheirPage() throws {
        let segments = (0..<40).flatMap { _ in [10, 0] as [UInt32] }
        try driver.ram.write(segments.flatMap(\.littleEndianBytes)[...], at: GuestPhysical(frame: 19))
        try driver.grant(19, .read)
        try driver.fill(frame: 10, with: 0x55)
        #expect(try status(of: BlockRequests.indirect(1, sector: 3, count: 40, page: 19)) == .done)
        let sectors = try file()
        #expect((0..<64).filter { sectors[$0 * 512] == 0x55 } == Array(3..<43))
    }

    @Test func flushAndDiscardWork() throws {
        let service = try service()
        #expect(try status(of: BlockRequests.direct(3, sector: 0, []), by: service) == .done)
        #expect(try status(of: BlockRequests.discard(sector: 8, count: 16), by: service) == .done)
        #expect((0..<64).filter { try! file()[$0 * 512] == 0 } == [0] + Array(8..<24))
    }

    @Test func aFlushWritesWhatItCarries() throws {
        try driver.fill(frame: 10, with: 0x77)
        #expect(try status(of: BlockRequests.direct(3, sector: 0, Self.whole)) == .done)
        #expect(try file()[4095] == 0x77)
    }

    /// They would hold up what comes behind them.
    @Test func flushesAndDiscardsAreForThoseWhoMayWait() throws {
        let service = try service()
        for request in [BlockRequests.direct(3, sector: 0, []), BlockRequests.discard(sector: 8, count: 8)] {
            #expect(service.serve(BlockRequest(request), mayWait: false) == nil)
        }
        #expect(try file()[8 * 512] == 8)
        let write = BlockRequest(BlockRequests.direct(1, sector: 0, Self.whole))
        #expect(service.serve(write, mayWait: false) == .done)
    }

    @Test func anAnswerHasTheRequestsNumberAndOperation() {
        let identifier: UInt64 = 0x1234_5678_9abc_def0
        let direct = BlockRequest(BlockRequests.direct(1, sector: 0, [], identifier: identifier))
        #expect(direct.response(.done) == [0x9abc_def0, 0x1234_5678, 1])
        let indirect = BlockRequest(
            BlockRequests.indirect(1, sector: 0, count: 1, page: 1, identifier: identifier))
        #expect(indirect.response(.notSupported) == [0x9abc_def0, 0x1234_5678, 0xfffe_0001])
    }

    // MARK: What is refused

    /// Sectors behind the end, also where the sum wraps; a range within a page that is none; nothing at
    /// all, more than there is room for.
    @Test(arguments: [
        BlockRequests.direct(1, sector: 57, whole), BlockRequests.direct(1, sector: 64, [(10, 0, 0)]),
        BlockRequests.direct(1, sector: .max, [(10, 0, 0)]), BlockRequests.direct(1, sector: .max - 3, whole),
        BlockRequests.direct(1, sector: 0, [(10, 4, 3)]), BlockRequests.direct(1, sector: 0, [(10, 0, 8)]),
        BlockRequests.direct(1, sector: 0, [(10, 255, 255)]), BlockRequests.direct(1, sector: 0, []),
        BlockRequests.direct(1, sector: 0, whole, count: 12),
        BlockRequests.direct(1, sector: 0, whole, count: 255),
        BlockRequests.indirect(1, sector: 0, count: 0, page: 10),
        BlockRequests.indirect(1, sector: 0, count: 257, page: 10),
        BlockRequests.indirect(1, sector: 0, count: 65535, page: 10),
        BlockRequests.indirect(1, sector: 0, count: 1, page: 200),
        BlockRequests.discard(sector: 60, count: 5), BlockRequests.discard(sector: 1, count: .max),
    ])
    func impossibleRequestsFail(_ request: [UInt32]) throws {
        let before = try file()
        #expect(try status(of: request) == .failed)
        #expect(try file() == before)
    }

    @Test(arguments: [2, 4, 7, 255] as [UInt32]) func unknownOperationsAreNotSupported(_ operation: UInt32)
        throws
    {
        #expect(try status(of: BlockRequests.direct(operation, sector: 0, Self.whole)) == .notSupported)
    }

    /// Only reads and writes can be; a secure discard was not offered.
    @Test func otherFormsAreNotSupported() throws {
        let service = try service()
        for operation in [2, 3, 5, 6] as [UInt32] {
            let request = BlockRequests.indirect(operation, sector: 0, count: 1, page: 10)
            #expect(try status(of: request, by: service) == .notSupported)
        }
        let secure = BlockRequests.discard(sector: 0, count: 1, isSecure: true)
        #expect(try status(of: secure, by: service) == .notSupported)
    }

    @Test func grantsThatDoNotSufficeFail() throws {
        try driver.grant(11, .read)
        try driver.grant(12, .none)
        try driver.grant(13, frame: UInt64(GuestDriver.frames))
        let service = try service()
        for reference in [11, 12, 13, 32768, .max] as [UInt32] {
            try driver.fill(frame: 10, with: 0xcc)
            let request = BlockRequests.direct(0, sector: 0, [(10, 0, 7), (reference, 0, 7)])
            #expect(try status(of: request, by: service) == .failed)
            #expect(try driver.bytes(frame: 10) == [UInt8](repeating: 0xcc, count: 4096))
            #expect(try !driver.isInUse(10))
        }
    }

    @Test func aReadOnlyDiskIsNotChanged() throws {
        let service = try service(readOnly: true)
        #expect(try status(of: BlockRequests.direct(0, sector: 0, Self.whole), by: service) == .done)
        for request in [
            BlockRequests.direct(1, sector: 0, Self.whole), BlockRequests.direct(3, sector: 0, Self.whole),
            BlockRequests.discard(sector: 0, count: 1),
        ] {
            #expect(try status(of: request, by: service) == .failed)
        }
        #expect(try status(of: BlockRequests.direct(3, sector: 0, []), by: service) == .done)
    }

    /// The host took away what the disk had: an error for the guest, and a line for the user.
    @Test func aHostThatFailsIsReportedOnce() throws {
        let reports = Reports()
        let service = try service(reports: reports)
        #expect(truncate(path, 4096) == 0)
        for _ in 0..<3 {
            #expect(try status(of: BlockRequests.direct(0, sector: 16, Self.whole), by: service) == .failed)
        }
        let lines = reports.lines.withLock { $0 }
        #expect(lines.count == 1 && lines[0].hasPrefix("disk xvda (\(path)): read byte 8192"))
    }

    // MARK: Anything

    /// Requests of random words, of which many are nearly right: they end, and no byte of the guest's
    /// changes that it did not grant for writing.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func randomRequestsDoNoHarm(_ seed: UInt64) throws {
        var random = SeededNumbers(seed)
        let service = try service()
        try driver.grant(11, .read)
        for frame in 0..<UInt64(GuestDriver.frames) { try driver.fill(frame: frame, with: 0x99) }
        for _ in 0..<2000 {
            var words = (0..<28).map { _ in
                random.next(below: 4) == 0
                    ? UInt32(truncatingIfNeeded: random.next()) : UInt32(random.next(below: 24))
            }
            words[0] =
                UInt32(random.next(below: 8)) | UInt32(random.next(below: 14)) << 8 | UInt32(
                    random.next(below: 3)) << 16
            if random.next(below: 8) != 0 { words[5] = 0 }
            _ = service.serve(BlockRequest(words), mayWait: true)
        }
        for frame in 0..<UInt64(GuestDriver.frames) where frame == 11 || !(10..<20).contains(frame) {
            #expect(try driver.bytes(frame: frame) == [UInt8](repeating: 0x99, count: 4096))
        }
        for reference in 0..<32 as Range<UInt32> { #expect(try !driver.isInUse(reference)) }
        #expect(try file().count == Int(Self.sectors) * 512)
    }
}

/// Numbers that look random and are the same each time (xorshift64).
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    mutating func next(below limit: UInt64) -> UInt64 { next() % limit }
}
