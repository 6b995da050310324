// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem
import Synchronization

/// Locks of a guest's processes. The guest's kernel arbitrates among them; the host's among guests and its
/// own processes. Each file and owner that has a lock has an opened file of its own here, which the
/// lock belongs to (open file description locks, fcntl_locking(2)), as a process has in POSIX.
final class NinePLocks: Sendable {
    private struct Holder: Hashable {
        let file: SharedFile.Identity
        let owner: NinePLock.Owner
    }

    /// What the guest is told.
    enum Status: UInt8 {
        case granted = 0
        case blocked = 1
    }

    /// Of one share; each has a descriptor.
    static let limit = 1024
    private let holders = Mutex<[Holder: Descriptor]>([:])

    private let isReadOnly: Bool

    init(isReadOnly: Bool) { self.isReadOnly = isReadOnly }

    func removeAll() { holders.withLock { $0.removeAll() } }

    /// Never waits: a guest asks again.
    func set(_ lock: NinePLock, on fid: NinePFid) throws(NinePFailure) -> Status {
        let opened = try fid.opened()
        let holder = Holder(file: fid.file.identity, owner: lock.owner)
        return try holders.withLock { holders throws(NinePFailure) in
            guard let file = holders[holder] else {
                if Int32(lock.kind) == F_UNLCK { return .granted }
                guard holders.count < Self.limit else { throw NinePFailure(ENOLCK) }
                let file = try another(opened, of: fid.file)
                let status = try Self.set(lock, on: file)
                if status == .granted { holders[holder] = file }
                return status
            }
            // From the first byte to the end: what a process that closes a file lets go.
            if Int32(lock.kind) == F_UNLCK, lock.start == 0, lock.length == 0 {
                holders[holder] = nil
                return .granted
            }
            return try Self.set(lock, on: file)
        }
    }

    /// What is in the way of the lock, its kind F_UNLCK if there is nothing.
    func find(_ lock: NinePLock, on fid: NinePFid) throws(NinePFailure) -> NinePLock {
        let opened = try fid.opened()
        let holder = Holder(file: fid.file.identity, owner: lock.owner)
        let file = holders.withLock { $0[holder] } ?? opened
        var (kind, found) = (Int16(lock.kind), lock)
        try attempt { Int(linux_find_lock(file.number, &kind, &found.start, &found.length)) }
        found.kind = UInt8(truncatingIfNeeded: kind)
        return found
    }

    /// The same file, opened once more: if that may be for both kinds of locks, else as it was. Through a
    /// read-only share a guest keeps nobody from reading.
    private func another(_ opened: Descriptor, of file: SharedFile) throws(NinePFailure) -> Descriptor {
        if !isReadOnly, let both = try? file.open(O_RDWR) { return both }
        return try file.open(fcntl(opened.number, F_GETFL) & O_ACCMODE)
    }

    private static func set(_ lock: NinePLock, on file: Descriptor) throws(NinePFailure) -> Status {
        do throws(NinePFailure) {
            try attempt {
                Int(linux_set_lock(file.number, Int16(lock.kind), lock.start, lock.length))
            }
            return .granted
        } catch {
            if error.code == EAGAIN || error.code == EACCES { return .blocked }
            throw error
        }
    }
}
