// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

extension SharedDirectory.Ownership {
    private static let root: UInt32 = 0
    private static let nobody: UInt32 = 65534

    /// The owner that the guest sees.
    func owner(_ information: stat) -> (user: UInt32, group: UInt32) {
        switch self {
        case .asTheyAre: (information.st_uid, information.st_gid)
        case .one(let user, let group):
            (
                information.st_uid == user ? Self.root : Self.nobody,
                information.st_gid == group ? Self.root : Self.nobody
            )
        }
    }
}

/// What is known about files, and changed.
extension NinePServer {
    private enum Attribute {
        /// Mode, links, user, group, device, times, number, size and blocks; not birth, generation, version.
        static let basic: UInt64 = 0x7ff
    }

    /// Linux' V9FS_MAGIC: what the host's file system can is not what the guest finds here.
    private static let fileSystemType: UInt32 = 0x0102_1997

    func attributes(_ number: Fid, _ answer: inout NinePAnswer) throws(NinePFailure) {
        let file = try fid(number).file
        let information = try file.descriptor.information()
        let owner = directory.ownership.owner(information)
        answer.add(Attribute.basic)
        answer.add(qid(file))
        for number in [UInt32(information.st_mode), owner.user, owner.group] { answer.add(number) }
        let times = [information.st_atim, information.st_mtim, information.st_ctim].flatMap { time in
            [UInt64(bitPattern: Int64(time.tv_sec)), UInt64(time.tv_nsec)]
        }
        let numbers =
            [
                UInt64(information.st_nlink), UInt64(information.st_rdev), UInt64(information.st_size),
                UInt64(information.st_blksize), UInt64(information.st_blocks),
            ] + times + [0, 0, 0, 0]
        for number in numbers { answer.add(number) }
    }

    func statistics(_ number: Fid, _ answer: inout NinePAnswer) throws(NinePFailure) {
        let file = try fid(number).file
        var information = statvfs()
        try attempt { Int(fstatvfs(file.descriptor.number, &information)) }
        answer.add(Self.fileSystemType)
        answer.add(UInt32(information.f_bsize))
        for number in [
            information.f_blocks, information.f_bfree, information.f_bavail, information.f_files,
            information.f_ffree, 0,
        ] {
            answer.add(UInt64(number))
        }
        answer.add(UInt32(NinePName.limit))
    }

    // MARK: Changes

    /// The size before the times, which it would change.
    func change(_ number: Fid, _ changes: NinePChanges) throws(NinePFailure) {
        let fid = try fid(number)
        if !changes.valid.isDisjoint(with: [.user, .group]) { try changeOwner(fid.file, changes) }
        if changes.valid.contains(.mode) {
            guard fid.file.type != S_IFLNK else { throw NinePFailure(EOPNOTSUPP) }
            try attempt { Int(chmod(fid.file.path, mode_t(changes.mode & 0o7777))) }
        }
        if changes.valid.contains(.size) { try changeSize(fid, changes.size) }
        if !changes.valid.isDisjoint(with: [.accessTime, .changeTime]) { try changeTimes(fid.file, changes) }
    }

    private func changeOwner(_ file: SharedFile, _ changes: NinePChanges) throws(NinePFailure) {
        let user = changes.valid.contains(.user) ? changes.user : Self.none
        let group = changes.valid.contains(.group) ? changes.group : Self.none
        guard directory.ownership != .asTheyAre else {
            try attempt { Int(linux_chown(file.descriptor.number, user, group)) }
            return
        }
        let owner = directory.ownership.owner(try file.descriptor.information())
        guard user == Self.none || user == owner.user, group == Self.none || group == owner.group else {
            throw NinePFailure(EPERM)
        }
    }

    private func changeSize(_ fid: NinePFid, _ size: UInt64) throws(NinePFailure) {
        guard !fid.file.isDirectory else { throw NinePFailure(EISDIR) }
        guard fid.file.type == S_IFREG, let size = off_t(exactly: size) else { throw .malformed }
        // A file that was opened for writing may be changed, whatever its mode says by now.
        if let opened = try? fid.opened(), fcntl(opened.number, F_GETFL) & O_ACCMODE != O_RDONLY {
            try attempt { Int(ftruncate(opened.number, size)) }
        } else {
            let opened = try fid.file.open(O_WRONLY)
            try attempt { Int(ftruncate(opened.number, size)) }
        }
    }

    private func changeTimes(_ file: SharedFile, _ changes: NinePChanges) throws(NinePFailure) {
        let times = [
            try Self.time(changes, .accessTime, .givenAccessTime, changes.accessTime),
            try Self.time(changes, .changeTime, .givenChangeTime, changes.changeTime),
        ]
        try attempt { Int(utimensat(AT_FDCWD, file.path, times, 0)) }
    }

    /// As utimensat(2) takes it.
    private static func time(
        _ changes: NinePChanges, _ bit: NinePChanges.Valid, _ given: NinePChanges.Valid,
        _ time: (seconds: UInt64, nanoseconds: UInt64)
    ) throws(NinePFailure) -> timespec {
        // UTIME_OMIT and UTIME_NOW.
        guard changes.valid.contains(bit) else { return timespec(tv_sec: 0, tv_nsec: 1 << 30 - 2) }
        guard changes.valid.contains(given) else { return timespec(tv_sec: 0, tv_nsec: 1 << 30 - 1) }
        guard time.nanoseconds < 1_000_000_000 else { throw .malformed }
        return timespec(tv_sec: Int(truncatingIfNeeded: time.seconds), tv_nsec: Int(time.nanoseconds))
    }

    // MARK: Extended attributes

    /// The new fid reads an attribute's value, or, without a name, all names.
    func walkAttribute(
        _ number: Fid, _ new: Fid, _ name: [UInt8], _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let fid = try fid(number)
        let value =
            name.isEmpty
            ? try AttributeName.list(of: fid.file) : try AttributeName(name).value(of: fid.file)
        try add(NinePFid(fid.file, user: fid.user, .attribute(value)), as: new)
        answer.add(UInt64(value.count))
    }

    /// The fid takes an attribute's value from now on.
    func createAttribute(
        _ number: Fid, _ name: [UInt8], _ size: UInt64, _ flags: UInt32
    ) throws(NinePFailure) {
        let fid = try fid(number)
        guard size <= UInt64(ExtendedAttributes.sizeLimit) else { throw NinePFailure(E2BIG) }
        let attribute = NinePFid.NewAttribute(
            name: try AttributeName(name), size: Int(size), flags: Int32(bitPattern: flags))
        try replace(number, fid, by: NinePFid(fid.file, user: fid.user, .newAttribute(attribute)))
    }
}
