// SPDX-License-Identifier: Apache-2.0
import Testing

import PenumbraProtocol
@testable import PenumbraMachine
import PenumbraSystem

@Suite struct MessageTests {
    static let all: [Message] = [
        .hello(version: 1, nonce: .max), .welcome(version: 1, nonce: 7, kernel: "6.1.0", module: "loaded"),
        .run(Command(["sh", "-c", "echo ä"], environment: ["A=", "B=c d"], directory: "/tmp")),
        .run(Command([])), .input([1, 2, 3]), .input([]), .inputEnd, .inputTaken(65536), .signal(15),
        .output(Array("out".utf8)), .errorOutput([255]), .terminated(.exited(255)),
        .terminated(.killed(signal: 9)), .put(path: "/a b", mode: 0o755), .get(path: "/"), .data([0]),
        .dataEnd(mode: 0o600), .done, .failure("no such file"), .powerOff,
        .run(Command(["sh"], terminal: TerminalSize(rows: 24, columns: 80))),
        .resize(TerminalSize(rows: 1, columns: 500)),
    ]

    @Test(arguments: all) func whatIsSentIsReceived(_ message: Message) throws {
        #expect(try Message(message.frame) == message)
    }

    /// Messages of bytes alone are whole at every length; every other notices a lost byte and an added one.
    @Test(arguments: all) func damageIsNoticed(_ message: Message) {
        let frame = message.frame
        switch message {
        case .input, .output, .errorOutput, .data, .inputEnd, .done, .powerOff: return
        default: break
        }
        for count in 0..<frame.payload.count {
            #expect(throws: ProtocolError.damaged(type: frame.type)) {
                try Message(Frame(type: frame.type, payload: Array(frame.payload.prefix(count))))
            }
        }
        #expect(throws: ProtocolError.damaged(type: frame.type)) {
            try Message(Frame(type: frame.type, payload: frame.payload + [0]))
        }
    }

    @Test func unknownTypesAreRefused() {
        for type in [UInt8(0), 20, 255] {
            #expect(throws: ProtocolError.unknownType(type)) { try Message(Frame(type: type, payload: [])) }
        }
    }

    @Test func textThatIsNotUTF8IsRefused() {
        let payload: [UInt8] = [1, 0, 0, 0, 0xff]
        let type = Message.failure("").frame.type
        #expect(throws: ProtocolError.damaged(type: type)) {
            try Message(Frame(type: type, payload: payload))
        }
    }

    @Test func chunksKeepEveryByteInOrder() {
        let bytes = (0..<(Frame.maximumPayload * 2 + 5)).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let chunks = Message.chunks(of: bytes, Message.data)
        #expect(chunks.count == 3)
        var joined: [UInt8] = []
        for case .data(let part) in chunks { joined += part }
        #expect(joined == bytes)
    }

    @Test func exitCodesAreThoseOfAShell() {
        #expect(Termination.exited(3).exitCode == 3)
        #expect(Termination.killed(signal: 9).exitCode == 137)
    }
}
