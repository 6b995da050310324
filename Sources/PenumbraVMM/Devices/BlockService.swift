// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraSystem
import Synchronization

/// What a disk's requests come to: each is checked, done on the disk's file and answered. Used by several
/// threads at a time.
final class BlockService: Sendable {
    private let disk: DiskFile
    private let grants: GrantTable
    /// Takes a line about a host that failed.
    private let report: @Sendable (String) -> Void
    /// Errors of the host's that were reported: each once, for a guest may try again without end.
    private let reported = Mutex<Set<Int32>>([])
    /// The host lost what was written: no later flush may say that it is on the medium, though the
    /// host's kernel would (fsync(2) reports an error once, and to one of two flushes at the same time:
    /// so there is one at a time).
    private let hasLostWrites = Mutex(false)

    init(_ disk: DiskFile, grants: GrantTable, report: @escaping @Sendable (String) -> Void) {
        (self.disk, self.grants, self.report) = (disk, grants, report)
    }

    /// What the guest is told; nil: without `mayWait` this could not be done yet. Reads wait for the
    /// medium, flushes and discards always; writes go to the host's memory.
    func serve(_ request: BlockRequest, mayWait: Bool) -> BlockRequest.Status? {
        do {
            switch BlockRequest.Operation(rawValue: request.operation) {
            case .read: return try read(request, mayWait: mayWait)
            case .write: return try write(request)
            case .flush where !request.isIndirect: return mayWait ? try flush(request) : nil
            case .discard where !request.isIndirect: return mayWait ? try discard(request) : nil
            default: return .notSupported
            }
        } catch let error as SystemError {
            if error.code == EOPNOTSUPP { return .notSupported }
            noteFailure(error)
            return .failed
        } catch {
            // Grants that the guest did not give: its own business.
            return .failed
        }
    }

    private func noteFailure(_ error: SystemError) {
        let isNew = reported.withLock { $0.insert(error.code).inserted }
        if isNew { report("disk \(disk.disk.name) (\(disk.disk.path)): \(error); the guest is told so") }
    }

    // MARK: Operations

    private func read(_ request: BlockRequest, mayWait: Bool) throws -> BlockRequest.Status? {
        guard let transfer = try transfer(request) else { return .failed }
        let pages = try grants.map(transfer.references, for: .readAndWrite)
        let isDone = try pages.fill(
            transfer.bytes, from: disk.file, at: transfer.position, mayWait: mayWait)
        return isDone ? .done : nil
    }

    private func write(_ request: BlockRequest) throws -> BlockRequest.Status {
        guard !disk.disk.isReadOnly, let transfer = try transfer(request) else { return .failed }
        let pages = try grants.map(transfer.references, for: .read)
        try pages.store(transfer.bytes, to: disk.file, at: transfer.position)
        return .done
    }

    /// What it carries, if anything, is written between what was before and what comes later.
    private func flush(_ request: BlockRequest) throws -> BlockRequest.Status {
        try flushFile()
        guard request.segmentCount > 0 else { return .done }
        guard try write(request) == .done else { return .failed }
        try flushFile()
        return .done
    }

    private func flushFile() throws {
        if disk.disk.isReadOnly { return }
        try hasLostWrites.withLock { hasLostWrites in
            guard !hasLostWrites else {
                throw SystemError(call: "fdatasync", subject: "after an earlier failure", code: EIO)
            }
            do { try disk.flush() } catch {
                hasLostWrites = true
                throw error
            }
        }
    }

    private func discard(_ request: BlockRequest) throws -> BlockRequest.Status {
        guard !request.isSecure else { return .notSupported }
        guard !disk.disk.isReadOnly, contains(request.sector, count: request.sectorCount) else {
            return .failed
        }
        try disk.discard(request.sector..<(request.sector + request.sectorCount))
        return .done
    }

    // MARK: Checks

    /// Bytes of granted pages, and where on the disk they belong.
    private struct Transfer {
        var references: [UInt32] = []
        var bytes: [Range<Int>] = []
        var position: UInt64
    }

    /// nil: a request that no driver should make.
    private func transfer(_ request: BlockRequest) throws -> Transfer? {
        guard let segments = try segments(of: request), !segments.isEmpty,
            segments.allSatisfy(\.isPossible),
            contains(request.sector, count: segments.reduce(0) { $0 + $1.sectors })
        else { return nil }
        return Transfer(
            references: segments.map(\.reference),
            bytes: segments.enumerated().map { page, segment in segment.bytes(inPage: page) },
            position: request.sector * DiskFile.sectorSize)
    }

    private func segments(of request: BlockRequest) throws -> [BlockRequest.Segment]? {
        let limit = request.isIndirect ? BlockRequest.indirectSegments : BlockRequest.directSegments
        guard request.segmentCount <= limit else { return nil }
        guard request.isIndirect else { return request.segments }
        let page = try grants.map(request.segmentPage, for: .read)
        return BlockRequest.segments(try page.words(request.segmentCount * 2, at: 0)[...])
    }

    private func contains(_ first: UInt64, count: UInt64) -> Bool {
        first <= disk.sectors && count <= disk.sectors - first
    }
}
