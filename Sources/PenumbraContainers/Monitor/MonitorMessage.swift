// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol
import PenumbraSystem

/// What a container's monitor and its clients say to each other over the monitor's socket, one frame
/// each. Both are programs of the same user's, and of the same build: there are no versions.
///
/// A client asks one thing and has its answer:
///
///     attach            -> started, output ...     the main process's streams
///     execute           -> started, output ..., ended     a process of its own
///     pack, unpack      -> started, output ..., ended     tar streams: output, input
///     wait, stop        -> ended, when the container has
///     signal, usage     -> done, usage
///
/// With attach and execute the client may send input, inputEnd and resize, and with execute
/// sessionSignal; inputTaken tells how much of the input has reached the process. A client that keeps
/// less than `inputWindow` on its way is always read, so that the process's signals never wait behind
/// its input. `ended` is the last word to each who waits for the container's end, and comes when its
/// VM is gone and its state is written; `refused` takes the place of an answer. The socket's own buffers
/// are the flow control: a monitor does not read what it cannot pass on.
public enum MonitorMessage: Equatable, Sendable {
    /// `takesInput`: what the client sends is the main process's input. If it started the container and
    /// there is no terminal, its end is the input's.
    case attach(takesInput: Bool)
    case execute(ProcessSpec)
    case pack(path: [UInt8], followsLink: Bool)
    case unpack(path: [UInt8], CopyPlacement)
    case wait
    /// The stop signal, and after so many seconds SIGKILL.
    case stop(seconds: UInt32)
    /// To the main process.
    case signal(Int32)
    case usage

    case input([UInt8])
    case inputEnd
    case resize(TerminalSize)
    case sessionSignal(Int32)

    case started
    case output(OutputStream, [UInt8])
    /// In bytes.
    case inputTaken(Int)
    case ended(SessionEnd)
    case used(ContainerUsage)
    case done
    case refused(String)
}

/// How a process in a container, or the container, ended.
public struct SessionEnd: Error, Equatable, Sendable {
    /// As shells and container engines have it.
    public var code: Int32
    /// What else there is to say.
    public var reason: String?

    public init(code: Int32, reason: String? = nil) { (self.code, self.reason) = (code, reason) }
}

extension MonitorMessage {
    /// As an execute's arguments and environment may be.
    static let maximumPayload = AgentMessage.maximumPayload
    /// Bytes of a stream in one message.
    public static let chunk = Frame.maximumPayload
    /// Input that may be on its way, in bytes.
    public static let inputWindow = AgentMessage.window - 1

    private enum Kind: UInt8 {
        case attach = 1
        case execute, pack, unpack, wait, stop, signal, usage
        case input, inputEnd, resize, sessionSignal
        case started, output, inputTaken, ended, used, done, refused
    }

    public var frame: Frame {
        var payload = PayloadWriter()
        let kind = write(to: &payload)
        return Frame(type: kind.rawValue, payload: payload.bytes)
    }

    private func write(to payload: inout PayloadWriter) -> Kind {
        switch self {
        case .attach(let takesInput):
            payload.flag(takesInput)
            return .attach
        case .execute(let process):
            payload.bytes = Self.payload(of: process)
            return .execute
        case .pack(let path, let followsLink):
            payload.string(path)
            payload.flag(followsLink)
            return .pack
        case .unpack(let path, let placement):
            payload.string(path)
            payload.number(placement.rawValue)
            return .unpack
        case .wait: return .wait
        case .stop(let seconds):
            payload.number(seconds)
            return .stop
        case .signal(let number):
            payload.number(number)
            return .signal
        case .usage: return .usage
        default: return writeAnswer(to: &payload)
        }
    }

    private func writeAnswer(to payload: inout PayloadWriter) -> Kind {
        switch self {
        case .input(let bytes):
            payload.bytes = bytes
            return .input
        case .inputEnd: return .inputEnd
        case .resize(let size):
            payload.number(size.rows)
            payload.number(size.columns)
            return .resize
        case .sessionSignal(let number):
            payload.number(number)
            return .sessionSignal
        case .output(let stream, let bytes):
            payload.number(stream.rawValue)
            payload.bytes += bytes
            return .output
        case .inputTaken(let count):
            payload.number(UInt32(count))
            return .inputTaken
        case .ended(let end):
            payload.number(end.code)
            payload.optional(end.reason) { $0.text($1) }
            return .ended
        case .used(let usage):
            payload.number(usage.processorTime)
            payload.number(usage.memory)
            payload.number(usage.memoryLimit)
            return .used
        case .refused(let reason):
            payload.text(reason)
            return .refused
        case .started: return .started
        default: return .done
        }
    }

    public init(_ frame: Frame) throws(ProtocolError) {
        guard let kind = Kind(rawValue: frame.type) else { throw .unknownType(frame.type) }
        var reader = PayloadReader(frame)
        switch kind {
        case .attach: self = .attach(takesInput: try reader.flag())
        case .execute: self = .execute(try Self.process(in: reader.rest()))
        case .pack: self = .pack(path: try reader.string(), followsLink: try reader.flag())
        case .unpack:
            let path = try reader.string()
            guard let placement = CopyPlacement(rawValue: try reader.number()) else { throw reader.damaged }
            self = .unpack(path: path, placement)
        case .wait: self = .wait
        case .stop: self = .stop(seconds: try reader.number())
        case .signal: self = .signal(try reader.number())
        case .usage: self = .usage
        case .input: self = .input(reader.rest())
        case .inputEnd: self = .inputEnd
        case .resize:
            self = .resize(TerminalSize(rows: try reader.number(), columns: try reader.number()))
        case .sessionSignal: self = .sessionSignal(try reader.number())
        case .started: self = .started
        case .output:
            guard let stream = OutputStream(rawValue: try reader.number()) else { throw reader.damaged }
            self = .output(stream, reader.rest())
        case .inputTaken: self = .inputTaken(Int(try reader.number() as UInt32))
        case .ended: self = .ended(try Self.end(&reader))
        case .used:
            self = .used(
                ContainerUsage(
                    processorTime: try reader.number(), memory: try reader.number(),
                    memoryLimit: try reader.number()))
        case .done: self = .done
        case .refused: self = .refused(try reader.text())
        }
        try reader.finish()
    }

    private static func end(_ reader: inout PayloadReader) throws(ProtocolError) -> SessionEnd {
        SessionEnd(
            code: try reader.number(),
            reason: try reader.optional { (reader) throws(ProtocolError) in try reader.text() })
    }

    /// A process as the agent's protocol has it.
    private static func payload(of process: ProcessSpec) -> [UInt8] {
        AgentMessage.start(.main, process).frame.payload
    }

    private static func process(in payload: [UInt8]) throws(ProtocolError) -> ProcessSpec {
        let frame = Frame(
            type: AgentMessage.start(.main, ProcessSpec(arguments: [])).frame.type, payload: payload)
        guard case .start(_, let process) = try AgentMessage(frame) else { throw .unknownType(frame.type) }
        return process
    }
}
