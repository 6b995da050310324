// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct NinePServerTests {
    private typealias Refused = NinePClient.Refused

    private let client: NinePClient

    init() throws { client = try NinePClient() }

    private func text(_ path: String) -> String? { Files.text(client.root + "/" + path) }

    private func expect(
        _ code: Int32, _ comment: Comment? = nil, _ body: () throws -> Void,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(throws: Refused(code: code), comment, sourceLocation: location) { try body() }
    }

    // MARK: Files

    @Test func filesAreReadAndWritten() throws {
        try client.walk(0, to: 1, "file")
        try client.open(1, O_RDWR)
        #expect(try client.read(1) == "hello" && client.read(1, at: 3) == "lo" && client.read(1, at: 9) == "")
        try client.write(1, at: 4, "- and more")
        #expect(text("file") == "hell- and more")
        try client.ask(.fsync) { $0.u32(1, 1) }
        try client.ask(.fsync) { $0.u32(1, 0) }
        try client.clunk(1)
        expect(EBADF) { _ = try client.read(1) }
    }

    @Test func createdFilesHaveTheModeTheyWereGiven() throws {
        let old = umask(0o77)
        defer { umask(old) }
        try client.walk(0, to: 1)
        try client.create(in: 1, "new", mode: 0o4666)
        try client.write(1, "text")
        let attributes = try client.attributes(1)
        #expect(attributes.mode == S_IFREG | 0o4666 && attributes.size == 4 && attributes.links == 1)
        #expect(text("new") == "text")
        try client.walk(0, to: 2)
        expect(EEXIST) { try client.create(in: 2, "new", O_RDWR | O_EXCL) }
        // Without O_EXCL what is there is opened.
        try client.create(in: 2, "new")
        #expect(try client.read(2) == "text")
    }

    @Test func removedFilesLiveOnForWhoHasThem() throws {
        try client.walk(0, to: 1, "file")
        try client.open(1, O_RDWR)
        try client.ask(.unlinkat) { $0.u32(0).text("file").u32(0) }
        expect(ENOENT) { try client.walk(0, to: 2, "file") }
        try client.write(1, "HE")
        #expect(try client.read(1) == "HEllo")
        #expect(try client.attributes(1).links == 0)
        try client.ask(.setattr) { $0.u32(1, 8, 0, 0, 0).u64(2, 0, 0, 0, 0) }
        #expect(try client.read(1) == "HE")
    }

    @Test func aPipeOrDeviceIsNeverOpened() throws {
        for (name, type) in [("pipe", S_IFIFO), ("socket", S_IFSOCK)] {
            try client.ask(.mknod) { $0.u32(0).text(name).u32(type | 0o666, 0, 0, 0) }
            try client.walk(0, to: 1, name)
            #expect(try client.attributes(1).mode == type | 0o666)
            // Neither waits for the pipe's other end.
            for flags in [O_RDONLY, O_WRONLY, O_RDWR] { expect(EPERM) { try client.open(1, flags) } }
            expect(EINVAL) { try client.ask(.setattr) { $0.u32(1, 8, 0, 0, 0).u64(0, 0, 0, 0, 0) } }
            try client.clunk(1)
        }
        expect(EINVAL) { try client.ask(.mknod) { $0.u32(0).text("x").u32(S_IFDIR | 0o666, 0, 0, 0) } }
    }

    @Test func attributesChange() throws {
        try client.walk(0, to: 1, "file")
        try client.ask(.setattr) { $0.u32(1, 1 | 8, 0o600, 0, 0).u64(3, 0, 0, 0, 0) }
        #expect(try client.attributes(1).mode == S_IFREG | 0o600 && text("file") == "hel")
        try client.ask(.setattr) { $0.u32(1, 16 | 32 | 128 | 256, 0, 0, 0).u64(0, 11, 1, 12, 999_999_999) }
        #expect(try client.attributes(1).changed == 12)
        // No nanoseconds, but what utimensat(2) takes for the present.
        expect(EINVAL) {
            try client.ask(.setattr) { $0.u32(1, 32 | 256, 0, 0, 0).u64(0, 0, 0, 0, 0x3fff_ffff) }
        }
        expect(EINVAL) { try client.ask(.setattr) { $0.u32(1, 8, 0, 0, 0).u64(.max, 0, 0, 0, 0) } }
        #expect(try client.ask(.statfs) { $0.u32(1) }.count == 60)
    }

    @Test func extendedAttributesOfUsersAreKept() throws {
        try client.walk(0, to: 1, "file")
        try client.walk(0, to: 2, "file")
        try client.ask(.xattrcreate) { $0.u32(2).text("user.a").u64(5).u32(0) }
        try client.write(2, "va")
        try client.write(2, at: 2, "lue")
        expect(EINVAL, "too much") { try client.write(2, at: 5, "s") }
        try client.clunk(2)
        try client.ask(.xattrwalk) { $0.u32(1, 3).text("user.a") }
        #expect(try client.read(3) == "value" && client.read(3, at: 4) == "e" && client.read(3, at: 99) == "")
        try client.ask(.xattrwalk) { $0.u32(1, 4).text("") }
        #expect(try client.read(4) == "user.a\0")
        for name in ["security.capability", "trusted.overlay.opaque", "user.", "system.posix_acl_access"] {
            expect(EOPNOTSUPP) { try client.ask(.xattrwalk) { $0.u32(1, 5).text(name) } }
            expect(EOPNOTSUPP) { try client.ask(.xattrcreate) { $0.u32(1).text(name).u64(5).u32(0) } }
        }
        expect(E2BIG) { try client.ask(.xattrcreate) { $0.u32(1).text("user.b").u64(1 << 40).u32(0) } }
        try client.ask(.xattrcreate) { $0.u32(1).text("user.a").u64(0).u32(2) }
        try client.clunk(1)
        try client.walk(0, to: 1, "file")
        expect(ENODATA) { try client.ask(.xattrwalk) { $0.u32(1, 5).text("user.a") } }
    }

    // MARK: Names

    @Test func namesComeAndGo() throws {
        try client.ask(.mkdir) { $0.u32(0).text("new").u32(0o2751, 0) }
        try client.walk(0, to: 1, "new")
        #expect(try client.attributes(1).mode == S_IFDIR | 0o2751)
        try client.walk(0, to: 2, "file")
        try client.ask(.link) { $0.u32(1, 2).text("second") }
        #expect(try client.attributes(2).links == 2)
        try client.ask(.renameat) { $0.u32(1).text("second").u32(0).text("third") }
        #expect(text("third") == "hello" && text("new/second") == nil)
        try client.ask(.rename) { $0.u32(2, 1).text("fourth") }
        #expect(text("new/fourth") == "hello" && text("file") == nil)
        // It was found under another name, which is gone.
        expect(ENOENT) { try client.ask(.remove) { $0.u32(2) } }
        expect(EBADF, "the fid is gone all the same") { try client.clunk(2) }
        expect(ENOTEMPTY) { try client.ask(.unlinkat) { $0.u32(0).text("new").u32(0x200) } }
        expect(EISDIR) { try client.ask(.unlinkat) { $0.u32(0).text("new").u32(0) } }
        try client.walk(1, to: 2, "fourth")
        try client.ask(.remove) { $0.u32(2) }
        try client.ask(.remove) { $0.u32(1) }
        #expect(!Files.exists(client.root + "/new"))
        expect(EBUSY) { try client.ask(.remove) { $0.u32(0) } }
    }

    @Test func namesAreBytes() throws {
        let name: [UInt8] = [0xff, 0x0a, 0x80, 0x20]
        try client.ask(.mkdir) { $0.u32(0).text_(name).u32(0o755, 0) }
        try client.ask(.walk) { $0.u32(0, 1).u16(1).text_(name) }
        try client.walk(0, to: 2)
        try client.open(2)
        let list = try client.ask(.readdir) { $0.u32(2).u64(0).u32(4096) }
        #expect(list.indices.contains { list[$0...].starts(with: name) })
    }

    @Test func walksGoAsFarAsTheyCan() throws {
        try client.ask(.mkdir) { $0.u32(0).text("a").u32(0o755, 0) }
        let found = try client.ask(.walk) { $0.u32(0, 1).u16(3).text("a").text("b").text("c") }
        #expect(found.count == 2 + 13 && found[2] == 0x80)
        expect(EBADF, "no new fid") { try client.clunk(1) }
        expect(ENOENT) { try client.walk(0, to: 1, "b", "a") }
        expect(EBADF, "a fid that is in use") {
            try client.walk(0, to: 0, "a"); try client.walk(0, to: 0); try client.walk(0, to: 1);
            try client.walk(0, to: 1)
        }
    }

    @Test func largeDirectoriesAreReadInPieces() throws {
        let names = (0..<700).map { "entry-\($0)" + String(repeating: "x", count: $0 % 200) }
        for name in names { try Files.write([], to: client.root + "/folder/" + name) }
        try client.walk(0, to: 1, "folder")
        try client.open(1)
        var (found, places) = ([String](), [UInt64]())
        while case let entries = try client.entries(1, from: places.last ?? 0, 1000), !entries.isEmpty {
            found += entries.map(\.name)
            places += entries.map(\.next)
        }
        #expect(Set(found) == Set(names + [".", ".."]) && found.count == 702)
        // Again from the middle.
        let again = try client.entries(1, from: places[300])
        #expect(again.first?.name == found[301])
        expect(EINVAL) { _ = try client.entries(1, 10) }
    }

    @Test func allIsFoundThoughWhatWasReadIsRemoved() throws {
        for number in 0..<500 { try Files.write([], to: client.root + "/folder/\(number)") }
        try client.walk(0, to: 1, "folder")
        try client.walk(0, to: 2, "folder")
        try client.open(1)
        var place: UInt64 = 0
        while case let entries = try client.entries(1, from: place, 500), let last = entries.last {
            for entry in entries where !entry.name.hasPrefix(".") {
                try client.ask(.unlinkat) { $0.u32(2).text(entry.name).u32(0) }
            }
            place = last.next
        }
        try client.ask(.unlinkat) { $0.u32(0).text("folder").u32(0x200) }
    }

    // MARK: No way out

    @Test func linksAreTheGuestsToFollow() throws {
        try client.ask(.symlink) { $0.u32(0).text("way").text("../outside").u32(0) }
        try client.ask(.symlink) { $0.u32(0).text("up").text("..").u32(0) }
        try client.walk(0, to: 1, "way")
        #expect(try client.attributes(1).mode & S_IFMT == S_IFLNK)
        let target = try client.ask(.readlink) { $0.u32(1) }
        #expect(target == UInt16(10).littleEndianBytes + Array("../outside".utf8))
        expect(ELOOP) { try client.open(1) }
        expect(EINVAL) { try client.ask(.setattr) { $0.u32(1, 8, 0, 0, 0).u64(0, 0, 0, 0, 0) } }
        expect(EOPNOTSUPP) { try client.ask(.setattr) { $0.u32(1, 1, 0o777, 0, 0).u64(0, 0, 0, 0, 0) } }
        expect(ENOTDIR) { try client.walk(1, to: 2, "x") }
        #expect(try client.ask(.walk) { $0.u32(0, 2).u16(2).text("up").text("outside") }.count == 2 + 13)
        // The link's own time, and a second name of the link itself.
        try client.ask(.setattr) { $0.u32(1, 32 | 256, 0, 0, 0).u64(0, 0, 0, 12, 0) }
        #expect(try client.attributes(1).changed == 12)
        try client.ask(.link) { $0.u32(0, 1).text("again") }
        #expect(try client.attributes(1).links == 2)
        try client.walk(0, to: 3)
        expect(ELOOP) { try client.create(in: 3, "way") }
        #expect(Files.text(client.outside) == "secret")
    }

    @Test(arguments: ["..", ".", "", "a/b", "/", "../outside", "a\0b", String(repeating: "x", count: 256)])
    func whatIsNoNameIsRefused(_ name: String) throws {
        let code = name.count > 255 ? ENAMETOOLONG : EINVAL
        try client.walk(0, to: 1)
        expect(code) { try client.walk(0, to: 2, name) }
        expect(code) { try client.walk(0, to: 2, "folder", name) }
        expect(code) { try client.create(in: 1, name) }
        expect(code) { try client.ask(.mkdir) { $0.u32(0).text(name).u32(0o755, 0) } }
        expect(code) { try client.ask(.symlink) { $0.u32(0).text(name).text("x").u32(0) } }
        expect(code) { try client.ask(.mknod) { $0.u32(0).text(name).u32(S_IFREG, 0, 0, 0) } }
        expect(code) { try client.ask(.link) { $0.u32(0, 1).text(name) } }
        expect(code) { try client.ask(.rename) { $0.u32(1, 0).text(name) } }
        expect(code) { try client.ask(.renameat) { $0.u32(0).text(name).u32(0).text("x") } }
        expect(code) { try client.ask(.renameat) { $0.u32(0).text("file").u32(0).text(name) } }
        expect(code) { try client.ask(.unlinkat) { $0.u32(0).text(name).u32(0) } }
        #expect(Files.text(client.outside) == "secret")
    }

    @Test func theRootsParentIsTheRoot() throws {
        try client.walk(0, to: 1)
        try client.open(1)
        let list = try client.ask(.readdir) { $0.u32(1).u64(0).u32(4096) }[4...]
        let own = try client.ask(.getattr) { $0.u32(0).u64(0x7ff) }[8..<21]
        var (rest, parents) = (list, [ArraySlice<UInt8>]())
        while let length = rest.number(at: 22, as: UInt16.self) {
            if rest.dropFirst(24).prefix(Int(length)).elementsEqual("..".utf8) {
                parents.append(rest.prefix(13))
            }
            rest = rest.dropFirst(24 + Int(length))
        }
        #expect(parents == [own])
    }

    @Test func whatIsMountedBelowIsClosed() throws {
        // A share of all of /: /proc is another file system on every host.
        let server = NinePServer(
            try SharedDirectory(VolumeShare(tag: "all", path: "/"), fidLimit: 10), messageLimit: 4096)
        func ask(_ message: NinePTestMessage) throws -> NinePTestAnswer {
            try NinePTestAnswer(server.serve(message.message, mayWait: true)!, to: message.message.kind)
        }
        _ = try ask(NinePTestMessage(.version).u32(4096).text("9P2000.L"))
        _ = try ask(NinePTestMessage(.attach).u32(0, .max).text("").text("").u32(0))
        #expect(
            try ask(NinePTestMessage(.walk).u32(0, 1).u16(2).text("proc").text("self")) == .failed(EXDEV))
    }

    // MARK: Rights

    @Test func aReadOnlyShareRefusesEveryChange() throws {
        let client = try NinePClient(isReadOnly: true)
        try client.walk(0, to: 1, "file")
        for message in Self.changes {
            #expect(try client.answer(message) == .failed(EROFS), "\(message.message.kind)")
        }
        for flags in [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC] { expect(EROFS) { try client.open(1, flags) } }
        try client.open(1)
        #expect(try client.read(1) == "hello")
        expect(EBADF) { try client.write(1, "x") }
        // It keeps nobody else from reading, either.
        #expect(try lock(1, F_RDLCK, process: 1, by: client) == 0)
        expect(EBADF) { _ = try lock(1, F_WRLCK, process: 1, by: client) }
        try client.walk(0, to: 2, "file")
        expect(EROFS) { try client.ask(.remove) { $0.u32(2) } }
        #expect(Files.text(client.root + "/file") == "hello")
    }

    private static let changes = [
        NinePTestMessage(.lcreate).u32(0).text("x").u32(0, 0o644, 0),
        NinePTestMessage(.symlink).u32(0).text("x").text("y").u32(0),
        NinePTestMessage(.mknod).u32(0).text("x").u32(S_IFREG | 0o644, 0, 0, 0),
        NinePTestMessage(.mkdir).u32(0).text("x").u32(0o755, 0),
        NinePTestMessage(.link).u32(0, 1).text("x"),
        NinePTestMessage(.rename).u32(1, 0).text("x"),
        NinePTestMessage(.renameat).u32(0).text("file").u32(0).text("x"),
        NinePTestMessage(.unlinkat).u32(0).text("file").u32(0),
        NinePTestMessage(.setattr).u32(1, 1, 0o777, 0, 0).u64(0, 0, 0, 0, 0),
        NinePTestMessage(.xattrcreate).u32(1).text("user.a").u64(1).u32(0),
    ]

    @Test func ofOneUsersProcessAllFilesAreThatUsers() throws {
        let client = try NinePClient(ownership: .one(user: geteuid(), group: getegid()))
        try client.walk(0, to: 1, "file")
        #expect(try client.attributes(1).user == 0 && client.attributes(1).group == 0)
        try client.ask(.setattr) { $0.u32(1, 2 | 4, 0, 0, 0).u64(0, 0, 0, 0, 0) }
        expect(EPERM) { try client.ask(.setattr) { $0.u32(1, 2, 0, 1000, 0).u64(0, 0, 0, 0, 0) } }
        expect(EPERM) { try client.ask(.setattr) { $0.u32(1, 4, 0, 0, 1000).u64(0, 0, 0, 0, 0) } }
        let others = try NinePClient(ownership: .one(user: geteuid() + 1, group: getegid() + 1))
        #expect(try others.attributes(0).user == 65534 && others.attributes(0).group == 65534)
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func ofRootsProcessFilesHaveTheOwnersTheyAreGiven() throws {
        try client.ask(.attach) { $0.u32(9, .max).text("").text("").u32(1234) }
        try client.ask(.mkdir) { $0.u32(9).text("theirs").u32(0o755, 99) }
        try client.walk(9, to: 1, "theirs")
        #expect(try client.attributes(1).user == 1234 && client.attributes(1).group == 99)
        try client.ask(.setattr) { $0.u32(1, 2, 0, 5, 0).u64(0, 0, 0, 0, 0) }
        #expect(try client.attributes(1).user == 5 && client.attributes(1).group == 99)
    }

    // MARK: Locks

    private func lock(_ fid: UInt32, _ kind: Int32, process: UInt32, by client: NinePClient) throws -> UInt8 {
        try client.ask(.lock) {
            $0.u32(fid).u8(UInt8(kind)).u32(0).u64(0, 0).u32(process).text("guest")
        }[0]
    }

    @Test func locksHoldBetweenGuests() throws {
        let server = NinePServer(client.server.directory, messageLimit: 8192)
        _ = server.serve(NinePTestMessage(.version).u32(8192).text("9P2000.L").message, mayWait: true)
        func other(_ message: NinePTestMessage) throws -> NinePTestAnswer {
            try NinePTestAnswer(server.serve(message.message, mayWait: true)!, to: message.message.kind)
        }
        _ = try other(NinePTestMessage(.attach).u32(0, .max).text("").text("").u32(0))
        _ = try other(NinePTestMessage(.walk).u32(0, 1).u16(1).text("file"))
        _ = try other(NinePTestMessage(.lopen).u32(1, UInt32(O_RDWR)))
        let theirs = NinePTestMessage(.lock).u32(1).u8(UInt8(F_WRLCK)).u32(0).u64(0, 0).u32(1).text("b")
        try client.walk(0, to: 1, "file")
        try client.open(1, O_RDWR)
        #expect(try lock(1, F_WRLCK, process: 1, by: client) == 0)
        #expect(try other(theirs) == .done([1]))
        let asked = NinePTestMessage(.getlock).u32(1).u8(UInt8(F_RDLCK)).u64(0, 0).u32(1).text("b")
        guard case .done(let found) = try other(asked) else { return #expect(Bool(false), "refused") }
        #expect(found[0] == UInt8(F_WRLCK))
        // A process keeps its own lock out of its way, and gives it back.
        #expect(try lock(1, F_RDLCK, process: 1, by: client) == 0)
        #expect(try lock(1, F_UNLCK, process: 1, by: client) == 0)
        #expect(try other(theirs) == .done([0]))
        #expect(try lock(1, F_RDLCK, process: 1, by: client) == 1)
    }

    // MARK: Sessions

    @Test func aNewSessionHasNothingOfTheOldOne() throws {
        try client.walk(0, to: 1, "file")
        let answer = try client.ask(.version) { $0.u32(8192).text("9P2000.L") }
        #expect(answer.number(at: 0, as: UInt32.self) == 8192)
        expect(EBADF) { try client.clunk(1) }
        #expect(
            try client.ask(.version) { $0.u32(8192).text("9P2000.u") }.suffix(7) == Array("unknown".utf8)[...]
        )
        expect(EPROTO) { try client.ask(.attach) { $0.u32(0, .max).text("").text("").u32(0) } }
        expect(EINVAL) { try client.ask(.version) { $0.u32(100).text("9P2000.L") } }
    }

    @Test func fidsAreBounded() throws {
        for fid in 1..<100 as Range<UInt32> { try client.walk(0, to: fid) }
        expect(EMFILE) { try client.walk(0, to: 100) }
        try client.clunk(5)
        try client.walk(0, to: 100, "file")
        expect(EBADF, "stands for none") {
            try client.clunk(50); try client.walk(0, to: .max)
        }
    }

    @Test func readsAreNoLongerThanMessages() throws {
        try Files.write([UInt8](repeating: 1, count: 200_000), to: client.root + "/long")
        try client.walk(0, to: 1, "long")
        try client.open(1)
        let answer = try client.ask(.read) { $0.u32(1).u64(0).u32(.max) }
        #expect(answer.count + 7 == Int(NinePClient.messageSize))
        // What is in memory needs no waiting, though the file ends before the message does.
        let last = NinePTestMessage(.read).u32(1).u64(199_990).u32(60000)
        #expect(client.server.serve(last.message, mayWait: false)?.count == 11 + 10)
        #expect(client.server.serve(NinePTestMessage(.fsync).u32(1, 0).message, mayWait: false) == nil)
    }

    // MARK: Attacks

    /// Each is refused, and the server goes on.
    @Test(arguments: [
        NinePTestMessage(number: 0), NinePTestMessage(number: 6).u32(1), NinePTestMessage(number: 255),
        NinePTestMessage(.version), NinePTestMessage(.version).u32(8192).u16(100).raw([1, 2]),
        NinePTestMessage(.attach).u32(5, 3).text("").text("").u32(0),
        NinePTestMessage(.attach).u32(5, .max).text("").text("/etc").u32(0),
        NinePTestMessage(.attach).u32(0, .max).text("").text("").u32(0),
        NinePTestMessage(.flush), NinePTestMessage(.flush).u16(1).u8(1),
        NinePTestMessage(.walk).u32(0, 5).u16(17), NinePTestMessage(.walk).u32(0, 5).u16(1),
        NinePTestMessage(.walk).u32(0, 5).u16(0).u8(0), NinePTestMessage(.walk).u32(77, 5).u16(0),
        NinePTestMessage(.walk).u32(0, 5).u16(1).u16(0xffff), NinePTestMessage(.lopen).u32(0, 3),
        NinePTestMessage(.lopen).u32(0, UInt32(O_WRONLY)), NinePTestMessage(.lopen).u32(77, 0),
        NinePTestMessage(.lcreate).u32(1).text("x").u32(0, 0, 0),
        NinePTestMessage(.read).u32(1).u64(0).u32(10), NinePTestMessage(.read).u32(2).u64(.max).u32(10),
        NinePTestMessage(.read).u32(2).u64(UInt64(Int64.max)).u32(10),
        NinePTestMessage(.read).u32(77).u64(0).u32(10), NinePTestMessage(.read).u32(3).u64(0).u32(10),
        NinePTestMessage(.readdir).u32(2).u64(0).u32(4096),
        NinePTestMessage(.readdir).u32(3).u64(.max).u32(4096),
        NinePTestMessage(.readdir).u32(3).u64(0).u32(0),
        NinePTestMessage(.write).u32(2).u64(0).u32(.max), NinePTestMessage(.write).u32(2).u64(0).u32(5),
        NinePTestMessage(.write).u32(2).u64(.max).u32(1).u8(1),
        NinePTestMessage(.write).u32(1).u64(0).u32(1).u8(1), NinePTestMessage(.clunk).u32(77),
        NinePTestMessage(.clunk).u16(1), NinePTestMessage(.remove).u32(77),
        NinePTestMessage(.fsync).u32(1, 0), NinePTestMessage(.lock).u32(2).u8(0).u32(0).u64(0, 0).u32(1),
        NinePTestMessage(.lock).u32(2).u8(9).u32(0).u64(0, 0).u32(1).text("h"),
        NinePTestMessage(.lock).u32(2).u8(0).u32(0).u64(.max, .max).u32(1).text("h"),
        NinePTestMessage(.lock).u32(1).u8(0).u32(0).u64(0, 0).u32(1).text("h"),
        NinePTestMessage(.xattrwalk).u32(1, 2).text("user.x"),
        NinePTestMessage(.xattrwalk).u32(1, 5).text("user.x\0y"),
        NinePTestMessage(.xattrcreate).u32(77).text("user.x").u64(1).u32(0),
        NinePTestMessage(.setattr).u32(1, 1), NinePTestMessage(.getattr).u32(77).u64(0),
        NinePTestMessage(.symlink).u32(0).text("x").text("").u32(0),
        NinePTestMessage(.symlink).u32(0).text("x").text("a\0b").u32(0),
        NinePTestMessage(.mknod).u32(0).text("x").u32(S_IFBLK | 0o666, .max, 0, 0),
        NinePTestMessage(.mknod).u32(0).text("x").u32(0, 0, 0, 0),
        NinePTestMessage(.mkdir).u32(1).text("x").u32(0o755, 0),
        NinePTestMessage(.unlinkat).u32(0).text("file").u32(0xffff),
        NinePTestMessage(.readlink).u32(1), NinePTestMessage(.rename).u32(0, 0).text("x"),
    ])
    func nonsenseIsRefused(_ message: NinePTestMessage) throws {
        try client.walk(0, to: 1, "file")
        try client.walk(0, to: 2, "file")
        try client.open(2, O_RDWR)
        try client.walk(0, to: 3, "folder")
        try client.open(3)
        let answer = try client.answer(message)
        guard case .failed = answer else {
            Issue.record("it was not refused: \(answer)")
            return
        }
        #expect(try client.read(2) == "hello")
    }

    /// Fids of attributes hold memory: there are few, and those that go make room.
    @Test func attributesAreBounded() throws {
        try client.walk(0, to: 1, "file")
        for fid in 2..<66 as Range<UInt32> { try client.ask(.xattrwalk) { $0.u32(1, fid).text("") } }
        expect(EMFILE) { try client.ask(.xattrwalk) { $0.u32(1, 70).text("") } }
        expect(EMFILE) { try client.ask(.xattrcreate) { $0.u32(1).text("user.a").u64(1).u32(0) } }
        try client.clunk(2)
        try client.ask(.xattrwalk) { $0.u32(1, 70).text("") }
        expect(EBADF, "a fid has one use") {
            try client.ask(.xattrcreate) { $0.u32(70).text("user.a").u64(1).u32(0) }
        }
    }

    /// Random messages of right kinds with random fields, few of them right.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func randomMessagesDoNoHarm(_ seed: UInt64) throws {
        var random = SeededNumbers(seed)
        let names = ["file", "folder", "..", ".", "../outside", "a", "b", "", "/etc/passwd"]
        for _ in 0..<5000 {
            let kind = UInt8(random.next(below: 64) * 2)
            var message = NinePTestMessage(number: kind)
            for _ in 0..<random.next(below: 8) {
                switch random.next(below: 6) {
                case 0, 1: message = message.u32(UInt32(random.next(below: 6)))
                case 2: message = message.text(names[Int(random.next(below: UInt64(names.count)))])
                case 3: message = message.u16(UInt16(random.next(below: 3)))
                case 4: message = message.u64(random.next() >> random.next(below: 64))
                default: message = message.u32(UInt32(truncatingIfNeeded: random.next()))
                }
            }
            if kind == NinePRequest.Kind.version.rawValue { continue }
            _ = try client.answer(message)
        }
        #expect(Files.text(client.outside) == "secret")
        #expect(Files.list(client.folder.path) == ["outside", "root"])
    }
}
