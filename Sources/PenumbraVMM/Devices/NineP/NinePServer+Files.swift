// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem

/// How a guest wants a file opened. The numbers of 9P2000.L are those of Linux on x86.
struct OpenOptions {
    private static let passed = UInt32(bitPattern: O_TRUNC | O_SYNC | O_DSYNC)

    /// For open(2). Appending is the guest's business, whose offsets are right: with O_APPEND, the host
    /// would write the guest's pages to where they don't belong.
    let flags: Int32
    let isExclusive: Bool

    init(_ flags: UInt32) throws(NinePFailure) {
        let access = Int32(flags & UInt32(O_ACCMODE))
        guard access != O_ACCMODE else { throw .malformed }
        self.flags = access | Int32(bitPattern: flags & Self.passed)
        isExclusive = flags & UInt32(O_EXCL) != 0
    }

    var canChange: Bool { flags & (O_ACCMODE | O_TRUNC) != O_RDONLY }
}

/// What is done with opened files and directories.
extension NinePServer {
    func open(_ number: Fid, _ flags: UInt32, _ answer: inout NinePAnswer) throws(NinePFailure) {
        let fid = try fid(number)
        let options = try OpenOptions(flags)
        guard !directory.share.isReadOnly || !options.canChange else { throw NinePFailure(EROFS) }
        guard !fid.file.isDirectory || !options.canChange else { throw NinePFailure(EISDIR) }
        let opened = try fid.file.open(options.flags)
        try fid.begin(fid.file.isDirectory ? .directory(SharedDirectoryReader(opened)) : .file(opened))
        answer.add(qid(fid.file))
        // How much the guest moves at a time: what a message has room for.
        answer.add(0 as UInt32)
    }

    /// False: without `mayWait` this could not be done yet.
    func read(
        _ number: Fid, _ offset: UInt64, _ count: UInt32, mayWait: Bool, _ answer: inout NinePAnswer
    ) throws(NinePFailure) -> Bool {
        let fid = try fid(number)
        let count = min(Int(count), try dataLimit())
        if let attribute = fid.attribute {
            let start = Int(min(offset, UInt64(attribute.count)))
            try answer.addData { $0 += attribute[start...].prefix(count) }
            return true
        }
        let file = try fid.opened()
        try Self.check(offset, count)
        var isDone = true
        try answer.addData { bytes throws(NinePFailure) in
            isDone = try file.read(onto: &bytes, atMost: count, from: offset, mayWait: mayWait)
        }
        return isDone
    }

    func write(
        _ number: Fid, _ offset: UInt64, _ bytes: ArraySlice<UInt8>, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let fid = try fid(number)
        try Self.check(offset, bytes.count)
        let isAttribute = try fid.append(bytes, at: offset)
        answer.add(UInt32(isAttribute ? bytes.count : try fid.opened().write(bytes, at: offset)))
    }

    /// Offsets that files can have.
    private static func check(_ offset: UInt64, _ count: Int) throws(NinePFailure) {
        guard offset <= UInt64(Int64.max) - UInt64(count) else { throw NinePFailure(EINVAL) }
    }

    func sync(_ number: Fid, dataOnly: Bool) throws(NinePFailure) {
        let file = try fid(number).synchronised()
        try attempt { Int(dataOnly ? fdatasync(file.number) : fsync(file.number)) }
    }

    /// An entry is 24 bytes and its name: its qid, where the next one is, its type, and the name's
    /// length. That is no more than 7/6 of what getdents64(2) takes for it.
    func list(
        _ number: Fid, _ offset: UInt64, _ count: UInt32, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let fid = try fid(number)
        let size = min(Int(count), try dataLimit()) / 7 * 6
        guard size >= DirectoryEntry.largest else { throw .malformed }
        let entries = try fid.openedDirectory().entries(from: offset, size)
        var list = NinePAnswer.Part()
        for entry in entries { append(entry, of: fid.file, to: &list) }
        try answer.addData { $0 += list.bytes }
    }

    private func append(_ entry: DirectoryEntry, of file: SharedFile, to list: inout NinePAnswer.Part) {
        // What is above the share is none of the guest's business.
        let isRootsParent = file === directory.root && entry.name == Array("..".utf8)
        let qid =
            isRootsParent
            ? qid(file)
            : NinePQid(
                kind: Self.kind(isDirectory: entry.isDirectory, isLink: entry.isLink), path: entry.number)
        list.add(qid)
        list.add(entry.next)
        list.add(entry.type)
        list.add(text: entry.name)
    }

    func find(_ lock: NinePLock, _ number: Fid, _ answer: inout NinePAnswer) throws(NinePFailure) {
        let found = try locks.find(lock, on: try fid(number))
        answer.add(found.kind)
        answer.add(found.start)
        answer.add(found.length)
        answer.add(lock.owner.process)
        answer.add(text: lock.owner.host)
    }
}
