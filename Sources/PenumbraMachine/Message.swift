// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// A program to run in the machine.
public struct Command: Equatable, Sendable {
    public var arguments: [String]
    /// NAME=VALUE, added to what the agent has.
    public var environment: [String]
    public var directory: String
    /// With a terminal of its own, of this size, in place of three pipes: all output is `output`.
    public var terminal: TerminalSize?

    public init(
        _ arguments: [String], environment: [String] = [], directory: String = "/",
        terminal: TerminalSize? = nil
    ) {
        self.arguments = arguments
        self.environment = environment
        self.directory = directory
        self.terminal = terminal
    }
}

/// What client and agent say to each other, one frame each.
///
/// A conversation: the client sends `hello` with a nonce, the agent ends whatever went on on this
/// port and answers `welcome` with the same nonce; the client disregards all before it. Then one
/// request after the other:
///
///     run            -> output, errorOutput, inputTaken ..., terminated | failure
///       with input, inputEnd, signal, resize at any time; at most `inputWindow` bytes not yet taken
///     put, data ..., dataEnd   -> done | failure     (renamed into place at the end)
///     get            -> data ..., dataEnd | failure
///     powerOff       -> (the machine ends)
public enum Message: Equatable, Sendable {
    public static let version: UInt32 = 2
    public static let inputWindow = 64 << 10

    case hello(version: UInt32, nonce: UInt64)
    case welcome(version: UInt32, nonce: UInt64, kernel: String, module: String)
    case run(Command)
    case input([UInt8])
    case inputEnd
    case inputTaken(UInt32)
    case signal(Int32)
    case output([UInt8])
    case errorOutput([UInt8])
    case terminated(Termination)
    case put(path: String, mode: UInt32)
    case get(path: String)
    case data([UInt8])
    case dataEnd(mode: UInt32)
    case done
    case failure(String)
    case powerOff
    case resize(TerminalSize)
}

extension Message {
    /// The type numbers on the wire.
    private enum Kind: UInt8 {
        case hello = 1
        case welcome, run, input, inputEnd, inputTaken, signal, output, errorOutput, exited, killed
        case put, get, data, dataEnd, done, failure, powerOff, resize
    }

    public var frame: Frame {
        let (kind, payload) = parts
        precondition(payload.count <= Frame.maximumPayload, "the sender splits what is longer")
        return Frame(type: kind.rawValue, payload: payload)
    }

    /// Whether one frame holds it.
    var fits: Bool { parts.payload.count <= Frame.maximumPayload }

    private var parts: (kind: Kind, payload: [UInt8]) {
        var payload = PayloadWriter()
        let kind: Kind
        switch self {
        case .hello(let version, let nonce):
            kind = .hello
            payload.number(version)
            payload.number(nonce)
        case .welcome(let version, let nonce, let kernel, let module):
            kind = .welcome
            payload.number(version)
            payload.number(nonce)
            payload.text(kernel)
            payload.text(module)
        case .run(let command):
            kind = .run
            payload.texts(command.arguments)
            payload.texts(command.environment)
            payload.text(command.directory)
            payload.optional(command.terminal) { $0.size($1) }
        case .input(let bytes): (kind, payload.bytes) = (.input, bytes)
        case .inputEnd: kind = .inputEnd
        case .inputTaken(let count):
            kind = .inputTaken
            payload.number(count)
        case .signal(let number):
            kind = .signal
            payload.number(UInt32(bitPattern: number))
        case .output(let bytes): (kind, payload.bytes) = (.output, bytes)
        case .errorOutput(let bytes): (kind, payload.bytes) = (.errorOutput, bytes)
        case .terminated(.exited(let status)):
            kind = .exited
            payload.number(UInt32(bitPattern: status))
        case .terminated(.killed(let signal)):
            kind = .killed
            payload.number(UInt32(bitPattern: signal))
        case .put(let path, let mode):
            kind = .put
            payload.text(path)
            payload.number(mode)
        case .get(let path):
            kind = .get
            payload.text(path)
        case .data(let bytes): (kind, payload.bytes) = (.data, bytes)
        case .dataEnd(let mode):
            kind = .dataEnd
            payload.number(mode)
        case .done: kind = .done
        case .failure(let reason):
            kind = .failure
            payload.text(reason)
        case .powerOff: kind = .powerOff
        case .resize(let size):
            kind = .resize
            payload.size(size)
        }
        return (kind, payload.bytes)
    }

    public init(_ frame: Frame) throws(ProtocolError) {
        guard let kind = Kind(rawValue: frame.type) else { throw .unknownType(frame.type) }
        var reader = PayloadReader(frame)
        switch kind {
        case .hello: self = .hello(version: try reader.number(), nonce: try reader.number())
        case .welcome:
            self = .welcome(
                version: try reader.number(), nonce: try reader.number(),
                kernel: try reader.text(), module: try reader.text())
        case .run:
            self = .run(
                Command(
                    try reader.texts(), environment: try reader.texts(), directory: try reader.text(),
                    terminal: try reader.optional { (reader) throws(ProtocolError) in try reader.size() }))
        case .input: self = .input(reader.rest())
        case .inputEnd: self = .inputEnd
        case .inputTaken: self = .inputTaken(try reader.number())
        case .signal: self = .signal(Int32(bitPattern: try reader.number()))
        case .output: self = .output(reader.rest())
        case .errorOutput: self = .errorOutput(reader.rest())
        case .exited: self = .terminated(.exited(Int32(bitPattern: try reader.number())))
        case .killed: self = .terminated(.killed(signal: Int32(bitPattern: try reader.number())))
        case .put: self = .put(path: try reader.text(), mode: try reader.number())
        case .get: self = .get(path: try reader.text())
        case .data: self = .data(reader.rest())
        case .dataEnd: self = .dataEnd(mode: try reader.number())
        case .done: self = .done
        case .failure: self = .failure(try reader.text())
        case .powerOff: self = .powerOff
        case .resize: self = .resize(try reader.size())
        }
        try reader.finish()
    }

    /// Splits bytes into as many messages as they need.
    static func chunks(of bytes: [UInt8], _ message: ([UInt8]) -> Message) -> [Message] {
        stride(from: 0, to: bytes.count, by: Frame.maximumPayload).map {
            message(Array(bytes[$0..<min($0 + Frame.maximumPayload, bytes.count)]))
        }
    }
}
