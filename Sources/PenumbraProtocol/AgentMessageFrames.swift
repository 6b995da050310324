// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

extension AgentMessage {
    /// The type numbers on the wire.
    private enum Kind: UInt8 {
        case hello = 1
        case welcome, configure, configured, configurationFailed
        case start, pack, unpack, started, input, inputEnd, output, credit, resize, signal
        case exited, killed, failed, powerOff
    }

    public var frame: Frame {
        var payload = PayloadWriter()
        let kind = write(to: &payload)
        return Frame(type: kind.rawValue, payload: payload.bytes)
    }

    private func write(to payload: inout PayloadWriter) -> Kind {
        switch self {
        case .hello(let version, let kernel):
            payload.number(version)
            payload.text(kernel)
            return .hello
        case .welcome(let version):
            payload.number(version)
            return .welcome
        case .configure(let spec):
            spec.write(to: &payload)
            return .configure
        case .configured: return .configured
        case .configurationFailed(let reason):
            payload.text(reason)
            return .configurationFailed
        case .powerOff: return .powerOff
        default: return writeSession(to: &payload)
        }
    }

    /// The messages that belong to a session: its number first.
    private func writeSession(to payload: inout PayloadWriter) -> Kind {
        guard let session else { preconditionFailure("written by its caller") }
        payload.number(session.rawValue)
        switch self {
        case .start(_, let spec):
            spec.write(to: &payload)
            return .start
        case .pack(_, let path, let followsLink):
            payload.string(path)
            payload.flag(followsLink)
            return .pack
        case .unpack(_, let path, let placement):
            payload.string(path)
            payload.number(placement.rawValue)
            return .unpack
        case .input(_, let bytes):
            payload.bytes += bytes
            return .input
        case .output(_, let stream, let bytes):
            payload.number(stream.rawValue)
            payload.bytes += bytes
            return .output
        case .credit(_, let count):
            payload.number(count)
            return .credit
        case .resize(_, let size):
            payload.size(size)
            return .resize
        case .signal(_, let number):
            payload.number(number)
            return .signal
        case .terminated(_, let termination, let outOfMemory):
            return write(termination, outOfMemory, to: &payload)
        case .failed(_, let failure):
            payload.number(failure.kind.rawValue)
            payload.text(failure.reason)
            return .failed
        case .inputEnd: return .inputEnd
        default: return .started
        }
    }

    private func write(
        _ termination: Termination, _ outOfMemory: Bool, to payload: inout PayloadWriter
    ) -> Kind {
        defer { payload.flag(outOfMemory) }
        switch termination {
        case .exited(let status):
            payload.number(status)
            return .exited
        case .killed(let signal):
            payload.number(signal)
            return .killed
        }
    }

    /// The session that the message belongs to; nil if it belongs to none.
    public var session: AgentSession? {
        switch self {
        case .start(let session, _), .pack(let session, _, _), .unpack(let session, _, _),
            .started(let session), .input(let session, _), .inputEnd(let session), .output(let session, _, _),
            .credit(let session, _), .resize(let session, _), .signal(let session, _),
            .terminated(let session, _, _), .failed(let session, _):
            session
        case .hello, .welcome, .configure, .configured, .configurationFailed, .powerOff: nil
        }
    }

    public init(_ frame: Frame) throws(ProtocolError) {
        guard let kind = Kind(rawValue: frame.type) else { throw .unknownType(frame.type) }
        var reader = PayloadReader(frame)
        switch kind {
        case .hello: self = .hello(version: try reader.number(), kernel: try reader.text())
        case .welcome: self = .welcome(version: try reader.number())
        case .configure: self = .configure(try ContainerSpec(from: &reader))
        case .configured: self = .configured
        case .configurationFailed: self = .configurationFailed(try reader.text())
        case .powerOff: self = .powerOff
        default:
            let session = AgentSession(rawValue: try reader.number())
            self = try Self.message(kind, of: session, &reader)
        }
        try reader.finish()
    }

    private static func message(
        _ kind: Kind, of session: AgentSession, _ reader: inout PayloadReader
    ) throws(ProtocolError) -> AgentMessage {
        switch kind {
        case .start: return .start(session, try ProcessSpec(from: &reader))
        case .pack: return .pack(session, path: try reader.string(), followsLink: try reader.flag())
        case .unpack:
            let path = try reader.string()
            guard let placement = CopyPlacement(rawValue: try reader.number()) else { throw reader.damaged }
            return .unpack(session, path: path, placement)
        case .started: return .started(session)
        case .input: return .input(session, reader.rest())
        case .inputEnd: return .inputEnd(session)
        case .output:
            guard let stream = OutputStream(rawValue: try reader.number()) else { throw reader.damaged }
            return .output(session, stream, reader.rest())
        case .credit: return .credit(session, try reader.number())
        case .resize: return .resize(session, try reader.size())
        case .signal: return .signal(session, try reader.number())
        case .exited:
            let status: Int32 = try reader.number()
            guard (0...255).contains(status) else { throw reader.damaged }
            return .terminated(session, .exited(status), outOfMemory: try reader.flag())
        case .killed:
            let signal: Int32 = try reader.number()
            // signal(7): 64 of them.
            guard (1...64).contains(signal) else { throw reader.damaged }
            return .terminated(session, .killed(signal: signal), outOfMemory: try reader.flag())
        case .failed:
            guard let kind = AgentFailure.Kind(rawValue: try reader.number()) else { throw reader.damaged }
            return .failed(session, AgentFailure(kind, try reader.text()))
        default: throw reader.damaged
        }
    }
}
