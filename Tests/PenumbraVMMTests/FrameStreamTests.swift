// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraVMM

@Suite struct FrameStreamTests {
    private let peer: Descriptor
    private var stream: FrameStream

    init() throws {
        let (ours, its) = try LocalSocket.pair()
        peer = its
        stream = FrameStream(ours)
    }

    @Test mutating func framesGoBehindTheirLengths() throws {
        stream.append { bytes in
            bytes += [1, 2, 3]
            return true
        }
        stream.append { bytes in
            bytes += [9, 9]
            return false
        }
        stream.append { bytes in
            bytes += [UInt8](repeating: 5, count: 300)
            return true
        }
        try stream.send()
        #expect(!stream.hasOutput)
        let expected = [0, 0, 0, 3, 1, 2, 3, 0, 0, 1, 44] + [UInt8](repeating: 5, count: 300)
        #expect(try peer.read(atMost: 1000) == expected)
    }

    @Test mutating func framesComeInWhateverPieces() throws {
        let frames = [[1, 2, 3], [UInt8](repeating: 7, count: 1000), [4]] as [[UInt8]]
        let bytes = frames.flatMap { Packets.number(0) + Packets.number($0.count) + $0 }
        var received: [[UInt8]] = []
        for start in stride(from: 0, to: bytes.count, by: 13) {
            try peer.write(Array(bytes[start..<min(start + 13, bytes.count)]))
            try stream.receive()
            while let frame = try stream.take() { received.append(Array(frame)) }
        }
        #expect(received == frames)
    }

    @Test mutating func aPeerThatReadsNothingFillsItUp() throws {
        while stream.hasRoom {
            stream.append { bytes in
                bytes += [UInt8](repeating: 1, count: 50000)
                return true
            }
            try stream.send()
        }
        #expect(stream.hasOutput)
    }

    @Test mutating func aPeerThatIsMadIsNoticed() throws {
        try peer.write([0, 1, 0, 18])
        try stream.receive()
        #expect(throws: FrameStream.Problem.frameTooLong(65554)) { try stream.receive() }
    }

    @Test func aPeerThatIsGoneIsNoticed() throws {
        let ours: Descriptor
        do {
            let (mine, its) = try LocalSocket.pair()
            ours = mine
            try its.write([0, 0])
        }
        var stream = FrameStream(ours)
        try stream.receive()
        #expect(throws: FrameStream.Problem.ended) { try stream.receive() }
    }
}

@Suite struct PublishedPortTests {
    @Test(arguments: [
        ("80:80", "80:80/tcp"), ("8080:80/udp", "8080:80/udp"),
        ("127.0.0.1:1:65535", "127.0.0.1:1:65535/tcp"),
        ("[::1]:8080:80/tcp", "[::1]:8080:80/tcp"),
    ])
    func portsAreUnderstood(_ text: String, _ meaning: String) {
        #expect(PublishedPort(text)?.description == meaning)
    }

    @Test(arguments: [
        "", "80", "80:", ":80", "0:80", "80:0", "65536:1", "-1:1", "80:80/sctp", "80:80/tcp/udp", "::1:80:80",
        "[1.2.3.4]:1:1", "1.2.3.4%eth0:1:1", "a/b:1:1", "1,2:3", "~1:2", "1-2:3-4", ":1:1",
    ])
    func otherTextsAreRefused(_ text: String) { #expect(PublishedPort(text) == nil) }

    @Test func theyReachPasst() {
        let ports = ["127.0.0.1:8080:80", "53:53/udp", "[::1]:1:2"].map { PublishedPort($0)! }
        #expect(
            UserNetwork.arguments(ports).suffix(6) == [
                "--tcp-ports", "127.0.0.1/8080:80", "--udp-ports", "53:53", "--tcp-ports", "::1/1:2",
            ])
    }
}
