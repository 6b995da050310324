// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// A message of a guest's in the making, right or wrong.
struct NinePTestMessage {
    private var fields: [UInt8] = []
    private let kind: UInt8
    private let tag: UInt16

    init(_ kind: NinePRequest.Kind, tag: UInt16 = 1) { self.init(number: kind.rawValue, tag: tag) }

    init(number: UInt8, tag: UInt16 = 1) { (kind, self.tag) = (number, tag) }

    func u8(_ numbers: UInt8...) -> Self { adding(numbers) }
    func u16(_ numbers: UInt16...) -> Self { adding(numbers) }
    func u32(_ numbers: UInt32...) -> Self { adding(numbers) }
    func u64(_ numbers: UInt64...) -> Self { adding(numbers) }
    func text(_ text: String) -> Self { text_(Array(text.utf8)) }
    func text_(_ bytes: [UInt8]) -> Self { u16(UInt16(bytes.count)).raw(bytes) }

    func raw(_ bytes: [UInt8]) -> Self {
        var result = self
        result.fields += bytes
        return result
    }

    private func adding(_ numbers: [some FixedWidthInteger]) -> Self {
        raw(numbers.flatMap(\.littleEndianBytes))
    }

    /// With its head.
    var bytes: [UInt8] {
        UInt32(7 + fields.count).littleEndianBytes + [kind] + tag.littleEndianBytes + fields
    }

    var message: NinePMessage { NinePMessage(bytes) }
}

/// What the server said.
enum NinePTestAnswer: Equatable {
    /// The fields' bytes.
    case done([UInt8])
    case failed(Int32)

    init(_ bytes: [UInt8], to kind: UInt8) throws {
        try #require(bytes.count >= 7 && bytes.number(at: 0, as: UInt32.self) == UInt32(bytes.count))
        if bytes[4] == 7 {
            try #require(bytes.count == 11)
            self = .failed(Int32(bytes.number(at: 7, as: UInt32.self)!))
        } else {
            try #require(bytes[4] == kind + 1)
            self = .done(Array(bytes[7...]))
        }
    }
}

/// A directory, the server that shares it, and a guest that has attached to it as fid 0.
struct NinePClient {
    static let messageSize: UInt32 = 65536

    let folder: TemporaryDirectory
    let server: NinePServer
    /// What is shared; beside it is what must never be reached.
    var root: String { folder.path + "/root" }
    var outside: String { folder.path + "/outside" }

    init(
        isReadOnly: Bool = false, ownership: SharedDirectory.Ownership = .ofThisProcess, fidLimit: Int = 100
    ) throws {
        folder = try TemporaryDirectory()
        try Files.makeDirectories(folder.path + "/root/folder")
        try Files.write(Array("secret".utf8), to: folder.path + "/outside")
        try Files.write(Array("hello".utf8), to: folder.path + "/root/file")
        let directory = try SharedDirectory(
            VolumeShare(tag: "test", path: folder.path + "/root", isReadOnly: isReadOnly),
            ownership: ownership, fidLimit: fidLimit)
        server = NinePServer(directory, messageLimit: Self.messageSize)
        #expect(try ask(.version) { $0.u32(1 << 20).text("9P2000.L") }.count == 4 + 2 + 8)
        _ = try ask(.attach) { $0.u32(0, .max).text("root").text("").u32(0) }
    }

    func answer(_ message: NinePTestMessage) throws -> NinePTestAnswer {
        let answer = try #require(server.serve(message.message, mayWait: true))
        return try NinePTestAnswer(answer, to: message.message.kind)
    }

    struct Refused: Error, Equatable {
        let code: Int32
    }

    /// The answer's fields.
    @discardableResult
    func ask(
        _ kind: NinePRequest.Kind, _ fields: (NinePTestMessage) -> NinePTestMessage
    ) throws -> [UInt8] {
        switch try answer(fields(NinePTestMessage(kind))) {
        case .done(let fields): return fields
        case .failed(let code): throw Refused(code: code)
        }
    }

    // MARK: What guests do all the time

    func walk(_ fid: UInt32, to new: UInt32, _ names: String...) throws {
        try ask(.walk) { message in
            names.reduce(message.u32(fid, new).u16(UInt16(names.count))) { $0.text($1) }
        }
    }

    /// Flags as open(2) has them.
    func open(_ fid: UInt32, _ flags: Int32 = O_RDONLY) throws {
        try ask(.lopen) { $0.u32(fid, UInt32(flags)) }
    }

    func create(in fid: UInt32, _ name: String, _ flags: Int32 = O_RDWR, mode: UInt32 = 0o644) throws {
        try ask(.lcreate) { $0.u32(fid).text(name).u32(UInt32(flags), mode, 0) }
    }

    func clunk(_ fid: UInt32) throws { try ask(.clunk) { $0.u32(fid) } }

    func read(_ fid: UInt32, at offset: UInt64 = 0, _ count: UInt32 = 1000) throws -> String {
        let answer = try ask(.read) { $0.u32(fid).u64(offset).u32(count) }
        #expect(answer.number(at: 0, as: UInt32.self) == UInt32(answer.count - 4))
        return String(decoding: answer[4...], as: UTF8.self)
    }

    func write(_ fid: UInt32, at offset: UInt64 = 0, _ text: String) throws {
        let answer = try ask(.write) {
            $0.u32(fid).u64(offset).u32(UInt32(text.utf8.count)).raw(Array(text.utf8))
        }
        #expect(answer == UInt32(text.utf8.count).littleEndianBytes)
    }

    struct Attributes: Equatable {
        var mode, user, group: UInt32
        var links, size: UInt64
        var changed: UInt64
    }

    func attributes(_ fid: UInt32) throws -> Attributes {
        let answer = try ask(.getattr) { $0.u32(fid).u64(0x7ff) }
        #expect(answer.count == 153)
        func u32(_ offset: Int) -> UInt32 { answer.number(at: offset, as: UInt32.self)! }
        func u64(_ offset: Int) -> UInt64 { answer.number(at: offset, as: UInt64.self)! }
        return Attributes(
            mode: u32(21), user: u32(25), group: u32(29), links: u64(33), size: u64(49), changed: u64(89))
    }

    /// Names, and where each one's successor is.
    func entries(
        _ fid: UInt32, from offset: UInt64 = 0, _ count: UInt32 = 4096
    ) throws -> [(name: String, next: UInt64)] {
        var rest = try ask(.readdir) { $0.u32(fid).u64(offset).u32(count) }[4...]
        var entries: [(String, UInt64)] = []
        while !rest.isEmpty {
            let length = Int(rest.number(at: 22, as: UInt16.self)!)
            let name = String(decoding: rest.dropFirst(24).prefix(length), as: UTF8.self)
            entries.append((name, rest.number(at: 13, as: UInt64.self)!))
            rest = rest.dropFirst(24 + length)
        }
        return entries
    }
}
