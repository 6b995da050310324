// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraProtocol

@Suite struct FrameTests {
    private static let frames = [
        Frame(type: 1, payload: []), Frame(type: 2, payload: [0]), Frame(type: 255, payload: Array(0...255)),
        Frame(type: 3, payload: [UInt8](repeating: 0xA5, count: 300)),
    ]
    private static var stream: [UInt8] { frames.flatMap(\.bytes) }

    private func decode(_ pieces: [[UInt8]]) throws -> [Frame] {
        var decoder = FrameDecoder()
        var frames: [Frame] = []
        for piece in pieces {
            decoder.append(piece)
            while let frame = try decoder.next() { frames.append(frame) }
        }
        return frames
    }

    @Test func aStreamSplitAtAnyByteGivesTheSameFrames() throws {
        let stream = Self.stream
        for split in 0...stream.count {
            let frames = try decode([Array(stream[..<split]), Array(stream[split...])])
            #expect(frames == Self.frames, "split at \(split)")
        }
    }

    @Test func aStreamByteByByteGivesTheSameFrames() throws {
        #expect(try decode(Self.stream.map { [$0] }) == Self.frames)
    }

    @Test func theLongestPayloadPassesAndALongerOneIsRefused() throws {
        let longest = Frame(type: 9, payload: [UInt8](repeating: 7, count: Frame.maximumPayload))
        #expect(try decode([longest.bytes]) == [longest])
        var header = Array(longest.bytes.prefix(Frame.headerSize))
        header[4] += 1
        #expect(throws: ProtocolError.tooLong(Frame.maximumPayload + 1)) { try decode([header]) }
        header.replaceSubrange(4..<8, with: [0xff, 0xff, 0xff, 0xff])
        #expect(throws: ProtocolError.tooLong(0xffff_ffff)) { try decode([header]) }
    }

    @Test func garbageIsRefused() {
        #expect(throws: ProtocolError.notAFrame) { try decode([[1, 2, 3, 4, 5, 6, 7, 8]]) }
        #expect(throws: ProtocolError.notAFrame) { try decode([[Frame.magic, 1, 1, 0, 0, 0, 0, 0]]) }
        #expect(throws: ProtocolError.notAFrame) { try decode([Self.stream + Array("login: garbage".utf8)]) }
    }

    @Test func zerosBetweenFramesMeanNothing() throws {
        let stream: [UInt8] = Self.frames.flatMap { [0, 0, 0] + $0.bytes }
        #expect(try decode([stream]) == Self.frames)
    }

    /// A client that is killed within a frame leaves its beginning to the next client.
    @Test func theNextClientIsUnderstoodWhereverTheLastOneStopped() throws {
        let broken = Frame(type: 5, payload: [UInt8](repeating: 0xA5, count: Frame.maximumPayload)).bytes
        let hello = Frame(type: 1, payload: Array("hello".utf8))
        for stop in Array(0...20) + [1000, broken.count - 1] {
            let frames = try decode([Array(broken[..<stop]), Frame.resynchronization, hello.bytes])
            #expect(frames.last == hello, "stopped after \(stop) bytes")
        }
    }
}
