// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

/// What a guest asks for a new file.
struct NewFile {
    let mode: mode_t
    let group: UInt32

    init(mode: UInt32, group: UInt32) { (self.mode, self.group) = (mode_t(mode), group) }

    var permissions: mode_t { mode & 0o7777 }
    /// At first: more when the file has its owner.
    var early: mode_t { mode & 0o777 }
}

/// Names come and go.
extension NinePServer {
    private func directory(_ number: Fid) throws(NinePFailure) -> (fid: NinePFid, file: SharedFile) {
        let fid = try fid(number)
        try fid.file.requireDirectory()
        return (fid, fid.file)
    }

    /// Gives a file that was just made its owner and its mode, which the host's umask has no say in; if
    /// that fails it was never there. The answer: its qid.
    private func settle(
        _ name: NinePName, _ new: NewFile, by fid: NinePFid, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        do throws(NinePFailure) {
            let file = try fid.file.entry(name)
            try settle(file, new, user: fid.user)
            answer.add(qid(file))
        } catch {
            unlinkat(fid.file.descriptor.number, name.text, new.mode & S_IFMT == S_IFDIR ? AT_REMOVEDIR : 0)
            throw error
        }
    }

    private func settle(_ file: SharedFile, _ new: NewFile, user: UInt32) throws(NinePFailure) {
        if directory.ownership == .asTheyAre {
            try attempt { Int(linux_chown(file.descriptor.number, user, new.group)) }
        }
        if file.type != S_IFLNK { try attempt { Int(chmod(file.path, new.permissions)) } }
    }

    func makeDirectory(
        in number: Fid, _ name: NinePName, _ new: NewFile, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let (fid, parent) = try directory(number)
        try attempt { Int(mkdirat(parent.descriptor.number, name.text, new.early)) }
        let new = NewFile(mode: UInt32(S_IFDIR | new.permissions), group: new.group)
        try settle(name, new, by: fid, &answer)
    }

    /// Devices, where this process may make them; pipes, sockets and files.
    func makeNode(
        in number: Fid, _ name: NinePName, _ new: NewFile, _ major: UInt32, _ minor: UInt32,
        _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let (fid, parent) = try directory(number)
        let type = new.mode & S_IFMT
        guard [S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK].contains(type),
            major < 1 << 12, minor < 1 << 20
        else { throw .malformed }
        // makedev(3), for numbers that Linux has.
        let device = dev_t(minor & 0xff | major << 8 | (minor & ~0xff) << 12)
        try attempt { Int(mknodat(parent.descriptor.number, name.text, type | new.early, device)) }
        try settle(name, new, by: fid, &answer)
    }

    func makeLink(
        in number: Fid, _ name: NinePName, _ target: [UInt8], group: UInt32, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let (fid, parent) = try directory(number)
        guard !target.isEmpty, !target.contains(0) else { throw .malformed }
        let text = target.map { CChar(bitPattern: $0) } + [0]
        try attempt { Int(symlinkat(text, parent.descriptor.number, name.text)) }
        try settle(name, NewFile(mode: UInt32(S_IFLNK), group: group), by: fid, &answer)
    }

    /// Makes a file and opens it; the directory's fid is the file's from then on.
    func create(
        in number: Fid, _ name: NinePName, _ flags: UInt32, _ new: NewFile, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let (fid, parent) = try directory(number)
        let options = try OpenOptions(flags)
        guard let opened = try make(name, options, new, in: parent) else {
            return try openExisting(name, options, fid, number, &answer)
        }
        let file = try parent.entry(name)
        // Else somebody put another file in its place.
        guard SharedFile.Identity(try opened.information()) == file.identity else {
            throw NinePFailure(ESTALE)
        }
        do throws(NinePFailure) { try settle(file, new, user: fid.user) } catch {
            unlinkat(parent.descriptor.number, name.text, 0)
            throw error
        }
        try take(number, fid, file, opened, &answer)
    }

    /// The new file, open; nil: there is one, and the guest takes that as well.
    private func make(
        _ name: NinePName, _ options: OpenOptions, _ new: NewFile, in parent: SharedFile
    ) throws(NinePFailure) -> Descriptor? {
        do throws(NinePFailure) {
            let flags = options.flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
            return Descriptor(
                adopting: Int32(
                    try attempt { Int(openat(parent.descriptor.number, name.text, flags, new.early)) }))
        } catch {
            if error.code == EEXIST && !options.isExclusive { return nil }
            throw error
        }
    }

    private func openExisting(
        _ name: NinePName, _ options: OpenOptions, _ fid: NinePFid, _ number: Fid,
        _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        let file = try fid.file.entry(name)
        guard !file.isDirectory else { throw NinePFailure(EISDIR) }
        try take(number, fid, file, try file.open(options.flags), &answer)
    }

    private func take(
        _ number: Fid, _ fid: NinePFid, _ file: SharedFile, _ opened: Descriptor, _ answer: inout NinePAnswer
    ) throws(NinePFailure) {
        try replace(number, fid, by: NinePFid(file, user: fid.user, .file(opened)))
        answer.add(qid(file))
        // How much the guest moves at a time: what a message has room for.
        answer.add(0 as UInt32)
    }

    func link(in number: Fid, _ existing: Fid, _ name: NinePName) throws(NinePFailure) {
        let (_, parent) = try directory(number)
        let file = try fid(existing).file
        // Follows the way to the file, and not on where that is a symbolic link.
        try attempt {
            Int(linkat(AT_FDCWD, file.path, parent.descriptor.number, name.text, AT_SYMLINK_FOLLOW))
        }
    }

    func rename(
        _ old: Fid, _ oldName: NinePName, _ new: Fid, _ newName: NinePName
    ) throws(NinePFailure) {
        let (from, to) = (try directory(old).file.descriptor, try directory(new).file.descriptor)
        try attempt { Int(renameat(from.number, oldName.text, to.number, newName.text)) }
    }

    func rename(_ number: Fid, _ new: Fid, _ name: NinePName) throws(NinePFailure) {
        let place = try place(of: try fid(number).file)
        let to = try directory(new).file.descriptor
        try attempt { Int(renameat(place.directory.number, place.name.text, to.number, name.text)) }
    }

    func unlink(in number: Fid, _ name: NinePName, _ flags: UInt32) throws(NinePFailure) {
        let (_, parent) = try directory(number)
        guard flags & ~UInt32(AT_REMOVEDIR) == 0 else { throw .malformed }
        try attempt { Int(unlinkat(parent.descriptor.number, name.text, Int32(flags))) }
    }

    func remove(_ file: SharedFile) throws(NinePFailure) {
        let place = try place(of: file)
        try attempt {
            Int(unlinkat(place.directory.number, place.name.text, file.isDirectory ? AT_REMOVEDIR : 0))
        }
    }

    /// Where the file was found, and still is.
    private func place(of file: SharedFile) throws(NinePFailure) -> (directory: Descriptor, name: NinePName) {
        guard let place = file.place else { throw NinePFailure(EBUSY) }
        guard try file.isInPlace() else { throw NinePFailure(ENOENT) }
        return place
    }
}
