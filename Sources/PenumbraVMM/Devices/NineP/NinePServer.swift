// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization

/// Answers a guest's 9P2000.L requests (as Linux' fs/9p asks them) about one shared directory. Knows
/// nothing of how messages travel; used by several threads at a time.
///
/// Each fid has a descriptor of its file, so that files are found by one name in one directory at a
/// time, and what is done to a file is done to the one that the guest walked to. The guest's kernel
/// judges its users' rights, and the host's those of this process.
final class NinePServer: Sendable {
    typealias Fid = NinePRequest.Fid

    private struct Session {
        /// Bytes of a message; 0: the guest has not begun.
        var messageSize: UInt32 = 0
        var fids: [Fid: NinePFid] = [:]
        /// Fids that hold an attribute's value, which are large.
        var attributes = 0

        mutating func remove(_ number: Fid) -> NinePFid? {
            guard let fid = fids.removeValue(forKey: number) else { return nil }
            if fid.isAttribute { attributes -= 1 }
            return fid
        }
    }

    private static let protocolName = Array("9P2000.L".utf8)
    private static let unknownProtocol = Array("unknown".utf8)
    /// Linux' own.
    private static let smallestMessage: UInt32 = 4096
    private static let attributeLimit = 64
    /// Stands for no fid, and no user.
    static let none = UInt32.max

    let directory: SharedDirectory
    let locks: NinePLocks
    private let messageLimit: UInt32
    private let session = Mutex(Session())

    /// Messages have no more than `messageLimit` bytes.
    init(_ directory: SharedDirectory, messageLimit: UInt32) {
        precondition(messageLimit >= NinePServer.smallestMessage)
        (self.directory, self.messageLimit) = (directory, messageLimit)
        locks = NinePLocks(isReadOnly: directory.share.isReadOnly)
    }

    /// The answer; nil: without `mayWait` there is none yet. What the host has in memory needs no
    /// waiting, nor does what it writes later.
    func serve(_ message: NinePMessage, mayWait: Bool) -> [UInt8]? {
        do throws(NinePFailure) {
            var answer = NinePAnswer(to: message)
            let isDone = try self.answer(try NinePRequest(message), mayWait: mayWait, &answer)
            return isDone ? answer.finished() : nil
        } catch {
            return NinePAnswer(error, to: message).finished()
        }
    }

    private func answer(
        _ request: NinePRequest, mayWait: Bool, _ answer: inout NinePAnswer
    ) throws(NinePFailure) -> Bool {
        switch request {
        case .version(let size, let version): try begin(size, version, &answer)
        case .attach(let fid, let authentication, let tree, let user):
            try attach(fid, authentication, tree, user, &answer)
        case .walk(let fid, let new, let names): try walk(fid, new, names, &answer)
        case .clunk(let fid): try clunk(fid)
        case .remove(let fid): try remove(fid)
        case .read(let fid, let offset, let count):
            return try read(fid, offset, count, mayWait: mayWait, &answer)
        case .sync(let fid, let dataOnly):
            guard mayWait else { return false }
            try sync(fid, dataOnly: dataOnly)
        default: try answerOther(request, &answer)
        }
        return true
    }

    private func answerOther(
        _ request: NinePRequest, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        switch request {
        case .open(let fid, let flags): try open(fid, flags, &answer)
        case .write(let fid, let offset, let bytes): try write(fid, offset, bytes, &answer)
        case .readDirectory(let fid, let offset, let count): try list(fid, offset, count, &answer)
        case .lock(let fid, let lock): answer.add(try locks.set(lock, on: try self.fid(fid)).rawValue)
        case .findLock(let fid, let lock): try find(lock, fid, &answer)
        case .statistics(let fid): try statistics(fid, &answer)
        case .attributes(let fid): try attributes(fid, &answer)
        case .readLink(let fid): answer.add(text: try self.fid(fid).file.descriptor.linkTarget())
        case .walkAttribute(let fid, let new, let name): try walkAttribute(fid, new, name, &answer)
        default:
            guard !directory.share.isReadOnly else { throw NinePFailure(EROFS) }
            try change(request, &answer)
        }
    }

    /// What a read-only share refuses; for opened files, `open` does.
    private func change(_ request: NinePRequest, _ answer: inout NinePAnswer) throws(NinePFailure) {
        switch request {
        case .create(let fid, let name, let flags, let mode, let group):
            try create(in: fid, name, flags, NewFile(mode: mode, group: group), &answer)
        case .makeDirectory(let fid, let name, let mode, let group):
            try makeDirectory(in: fid, name, NewFile(mode: mode, group: group), &answer)
        case .makeNode(let fid, let name, let mode, let major, let minor, let group):
            try makeNode(in: fid, name, NewFile(mode: mode, group: group), major, minor, &answer)
        case .makeLink(let fid, let name, let target, let group):
            try makeLink(in: fid, name, target, group: group, &answer)
        case .link(let fid, let file, let name): try link(in: fid, file, name)
        case .rename(let old, let oldName, let new, let newName): try rename(old, oldName, new, newName)
        case .renameFid(let fid, let new, let name): try rename(fid, new, name)
        case .unlink(let fid, let name, let flags): try unlink(in: fid, name, flags)
        case .setAttributes(let fid, let changes): try change(fid, changes)
        case .createAttribute(let fid, let name, let size, let flags):
            try createAttribute(fid, name, size, flags)
        default: throw NinePFailure(EOPNOTSUPP)
        }
    }

    // MARK: Sessions and fids

    /// The guest begins, or begins anew: nothing of what was is left.
    private func begin(
        _ size: UInt32, _ version: [UInt8], _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        guard size >= Self.smallestMessage else { throw .malformed }
        let isKnown = version == Self.protocolName
        let agreed = min(size, messageLimit)
        session.withLock { $0 = Session(messageSize: isKnown ? agreed : 0) }
        locks.removeAll()
        answer.add(agreed)
        answer.add(text: isKnown ? Self.protocolName : Self.unknownProtocol)
    }

    /// How many bytes an answer of data can have: less its head, and its count.
    func dataLimit() throws(NinePFailure) -> Int {
        let size = session.withLock { $0.messageSize }
        guard size > 0 else { throw NinePFailure(EPROTO) }
        return Int(size) - NinePMessage.headerSize - 4
    }

    func fid(_ number: Fid) throws(NinePFailure) -> NinePFid {
        guard let fid = session.withLock({ $0.fids[number] }) else { throw NinePFailure(EBADF) }
        return fid
    }

    /// Gives a number to what was found.
    func add(_ fid: NinePFid, as number: Fid) throws(NinePFailure) {
        try session.withLock { session throws(NinePFailure) in
            guard session.messageSize > 0 else { throw NinePFailure(EPROTO) }
            guard number != Self.none, session.fids[number] == nil else { throw NinePFailure(EBADF) }
            guard session.fids.count < directory.fidLimit else { throw NinePFailure(EMFILE) }
            if fid.isAttribute { try Self.count(&session.attributes) }
            session.fids[number] = fid
        }
    }

    private static func count(_ attributes: inout Int) throws(NinePFailure) {
        guard attributes < attributeLimit else { throw NinePFailure(EMFILE) }
        attributes += 1
    }

    /// Has the number stand for something else from now on.
    func replace(_ number: Fid, _ old: NinePFid, by new: NinePFid) throws(NinePFailure) {
        try session.withLock { session throws(NinePFailure) in
            guard session.fids[number] === old, !old.isAttribute else { throw NinePFailure(EBADF) }
            if new.isAttribute { try Self.count(&session.attributes) }
            session.fids[number] = new
        }
    }

    private func attach(
        _ number: Fid, _ authentication: Fid, _ tree: [UInt8], _ user: UInt32, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        // There is one tree, and nobody to prove anything to: the guest is who it is.
        guard authentication == Self.none else { throw NinePFailure(EOPNOTSUPP) }
        guard tree.isEmpty || tree == [UInt8(ascii: "/")] else { throw NinePFailure(ENOENT) }
        let owner = user == Self.none ? 0 : user
        try add(NinePFid(directory.root, user: owner), as: number)
        answer.add(qid(directory.root))
    }

    /// As many of the names as there are; the new fid only for all of them.
    private func walk(
        _ number: Fid, _ new: Fid, _ names: [NinePName], _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let start = try fid(number)
        var (file, found) = (start.file, [NinePQid]())
        for name in names {
            do throws(NinePFailure) { file = try file.entry(name) } catch {
                if found.isEmpty { throw error }
                break
            }
            found.append(qid(file))
        }
        if found.count == names.count {
            let end = NinePFid(file, user: start.user)
            if new == number { try replace(number, start, by: end) } else { try add(end, as: new) }
        }
        answer.add(UInt16(found.count))
        for qid in found { answer.add(qid) }
    }

    private func clunk(_ number: Fid) throws(NinePFailure) {
        guard let fid = session.withLock({ $0.remove(number) }) else { throw NinePFailure(EBADF) }
        try fid.finish()
    }

    /// The fid goes whatever happens to the file.
    private func remove(_ number: Fid) throws(NinePFailure) {
        guard let fid = session.withLock({ $0.remove(number) }) else { throw NinePFailure(EBADF) }
        guard !directory.share.isReadOnly else { throw NinePFailure(EROFS) }
        try remove(fid.file)
    }

    func qid(_ file: SharedFile) -> NinePQid {
        NinePQid(
            kind: Self.kind(isDirectory: file.isDirectory, isLink: file.type == S_IFLNK),
            path: number(file.identity))
    }

    static func kind(isDirectory: Bool, isLink: Bool) -> UInt8 { isDirectory ? 0x80 : isLink ? 0x02 : 0 }

    /// The host's number of the file. Some file systems have files of several devices (overlayfs,
    /// subvolumes), whose numbers must not meet.
    private func number(_ identity: SharedFile.Identity) -> UInt64 {
        identity.device == directory.root.identity.device
            ? identity.number : identity.number ^ identity.device &* 0x9e37_79b9_7f4a_7c15
    }
}
