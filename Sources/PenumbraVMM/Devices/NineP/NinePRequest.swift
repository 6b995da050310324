// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A request of a guest's, taken apart. A fid is the guest's number for a file that it has walked to.
enum NinePRequest {
    typealias Fid = UInt32

    case statistics(Fid)
    case open(Fid, flags: UInt32)
    case create(in: Fid, NinePName, flags: UInt32, mode: UInt32, group: UInt32)
    case makeLink(in: Fid, NinePName, target: [UInt8], group: UInt32)
    case makeNode(in: Fid, NinePName, mode: UInt32, major: UInt32, minor: UInt32, group: UInt32)
    case renameFid(Fid, to: Fid, NinePName)
    case readLink(Fid)
    case attributes(Fid)
    case setAttributes(Fid, NinePChanges)
    case walkAttribute(Fid, new: Fid, name: [UInt8])
    case createAttribute(Fid, name: [UInt8], size: UInt64, flags: UInt32)
    case readDirectory(Fid, offset: UInt64, count: UInt32)
    case sync(Fid, dataOnly: Bool)
    case lock(Fid, NinePLock)
    case findLock(Fid, NinePLock)
    case link(in: Fid, Fid, NinePName)
    case makeDirectory(in: Fid, NinePName, mode: UInt32, group: UInt32)
    case rename(in: Fid, NinePName, to: Fid, NinePName)
    case unlink(in: Fid, NinePName, flags: UInt32)
    case version(size: UInt32, [UInt8])
    case attach(Fid, authentication: Fid, tree: [UInt8], user: UInt32)
    case walk(Fid, new: Fid, [NinePName])
    case read(Fid, offset: UInt64, count: UInt32)
    case write(Fid, offset: UInt64, ArraySlice<UInt8>)
    case clunk(Fid)
    case remove(Fid)

    /// The numbers of requests.
    enum Kind: UInt8 {
        case statfs = 8
        case lopen = 12
        case lcreate = 14
        case symlink = 16
        case mknod = 18
        case rename = 20
        case readlink = 22
        case getattr = 24
        case setattr = 26
        case xattrwalk = 30
        case xattrcreate = 32
        case readdir = 40
        case fsync = 50
        case lock = 52
        case getlock = 54
        case link = 70
        case mkdir = 72
        case renameat = 74
        case unlinkat = 76
        case version = 100
        case attach = 104
        case flush = 108
        case walk = 110
        case read = 116
        case write = 118
        case clunk = 120
        case remove = 122
    }

    /// Names in one walk.
    static let walkLimit: UInt16 = 16

    init(_ message: NinePMessage) throws(NinePFailure) {
        guard let kind = Kind(rawValue: message.kind) else { throw NinePFailure(EOPNOTSUPP) }
        var fields = NinePFields(message.fields)
        self = try Self.request(kind, &fields)
        try fields.end()
    }

    /// The tag that a flush is about; nil: it is no flush, or a malformed one.
    static func flushed(by message: NinePMessage) -> UInt16? {
        guard message.kind == Kind.flush.rawValue, message.fields.count == 2 else { return nil }
        return message.fields.number(at: 0, as: UInt16.self)
    }

    private static func request(_ kind: Kind, _ fields: inout NinePFields) throws(NinePFailure) -> Self {
        switch kind {
        case .version: .version(size: try fields.number(), try fields.text())
        case .attach: try attach(&fields)
        case .walk: try walk(&fields)
        case .statfs: .statistics(try fields.number())
        case .lopen: .open(try fields.number(), flags: try fields.number())
        case .readlink: .readLink(try fields.number())
        case .getattr: try attributes(&fields)
        case .setattr: .setAttributes(try fields.number(), try NinePChanges(&fields))
        case .readdir:
            .readDirectory(try fields.number(), offset: try fields.number(), count: try fields.number())
        case .read: .read(try fields.number(), offset: try fields.number(), count: try fields.number())
        case .write: try write(&fields)
        case .fsync: .sync(try fields.number(), dataOnly: try fields.number(UInt32.self) != 0)
        case .clunk: .clunk(try fields.number())
        case .remove: .remove(try fields.number())
        case .lock: .lock(try fields.number(), try NinePLock(&fields, hasFlags: true))
        case .getlock: .findLock(try fields.number(), try NinePLock(&fields, hasFlags: false))
        case .xattrwalk:
            .walkAttribute(try fields.number(), new: try fields.number(), name: try fields.text())
        case .xattrcreate:
            .createAttribute(
                try fields.number(), name: try fields.text(), size: try fields.number(),
                flags: try fields.number())
        case .lcreate, .symlink, .mknod, .mkdir, .link: try creation(kind, &fields)
        case .rename, .renameat, .unlinkat: try removal(kind, &fields)
        // A well-formed one does not come here.
        case .flush: throw .malformed
        }
    }

    private static func attach(_ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let (fid, authentication): (Fid, Fid) = (try fields.number(), try fields.number())
        // A name for the user: the number is what counts.
        _ = try fields.text()
        return .attach(
            fid, authentication: authentication, tree: try fields.text(), user: try fields.number())
    }

    private static func walk(_ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let (fid, new): (Fid, Fid) = (try fields.number(), try fields.number())
        let count = try fields.number(UInt16.self)
        guard count <= walkLimit else { throw .malformed }
        var names: [NinePName] = []
        for _ in 0..<count { names.append(try fields.name()) }
        return .walk(fid, new: new, names)
    }

    private static func attributes(_ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let fid: Fid = try fields.number()
        // What the guest wants to know: it is told everything.
        _ = try fields.number(UInt64.self)
        return .attributes(fid)
    }

    private static func write(_ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let (fid, offset): (Fid, UInt64) = (try fields.number(), try fields.number())
        return .write(fid, offset: offset, try fields.bytes(Int(try fields.number(UInt32.self))))
    }

    private static func creation(_ kind: Kind, _ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let directory: Fid = try fields.number()
        if kind == .link { return .link(in: directory, try fields.number(), try fields.name()) }
        let name = try fields.name()
        switch kind {
        case .lcreate:
            return .create(
                in: directory, name, flags: try fields.number(), mode: try fields.number(),
                group: try fields.number())
        case .symlink:
            return .makeLink(
                in: directory, name, target: try fields.text(), group: try fields.number())
        case .mknod:
            return .makeNode(
                in: directory, name, mode: try fields.number(), major: try fields.number(),
                minor: try fields.number(), group: try fields.number())
        default:
            return .makeDirectory(
                in: directory, name, mode: try fields.number(), group: try fields.number())
        }
    }

    private static func removal(_ kind: Kind, _ fields: inout NinePFields) throws(NinePFailure) -> Self {
        let fid: Fid = try fields.number()
        switch kind {
        case .rename: return .renameFid(fid, to: try fields.number(), try fields.name())
        case .renameat:
            return .rename(
                in: fid, try fields.name(), to: try fields.number(), try fields.name())
        default: return .unlink(in: fid, try fields.name(), flags: try fields.number())
        }
    }
}

/// What is to become of a file's attributes.
struct NinePChanges {
    struct Valid: OptionSet {
        let rawValue: UInt32

        static let mode = Self(rawValue: 1)
        static let user = Self(rawValue: 1 << 1)
        static let group = Self(rawValue: 1 << 2)
        static let size = Self(rawValue: 1 << 3)
        static let accessTime = Self(rawValue: 1 << 4)
        static let changeTime = Self(rawValue: 1 << 5)
        /// Not the present: the time that is given.
        static let givenAccessTime = Self(rawValue: 1 << 7)
        static let givenChangeTime = Self(rawValue: 1 << 8)
    }

    let valid: Valid
    let mode, user, group: UInt32
    let size: UInt64
    /// Seconds and nanoseconds.
    let accessTime, changeTime: (UInt64, UInt64)

    init(_ fields: inout NinePFields) throws(NinePFailure) {
        valid = Valid(rawValue: try fields.number())
        (mode, user, group) = (try fields.number(), try fields.number(), try fields.number())
        size = try fields.number()
        accessTime = (try fields.number(), try fields.number())
        changeTime = (try fields.number(), try fields.number())
    }
}

/// A lock on a range of a file, as fcntl(2) has them.
struct NinePLock: Equatable {
    /// Whose lock it is: a process of the guest's.
    struct Owner: Hashable {
        let process: UInt32
        let host: [UInt8]
    }

    /// F_RDLCK, F_WRLCK or F_UNLCK.
    var kind: UInt8
    var start, length: UInt64
    let owner: Owner

    /// Of names of hosts.
    private static let nameLimit = 255

    init(_ fields: inout NinePFields, hasFlags: Bool) throws(NinePFailure) {
        kind = try fields.number()
        // Whether the guest would wait: it asks again by itself.
        if hasFlags { _ = try fields.number(UInt32.self) }
        (start, length) = (try fields.number(), try fields.number())
        owner = Owner(process: try fields.number(), host: try fields.text())
        guard Int32(kind) <= F_UNLCK, owner.host.count <= Self.nameLimit,
            start <= Int64.max, length <= UInt64(Int64.max) - start
        else { throw .malformed }
    }
}
