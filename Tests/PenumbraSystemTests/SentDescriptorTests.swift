// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import PenumbraSystem

@Suite struct SentDescriptorTests {
    @Test func theOtherEndHasTheSameFile() throws {
        let (ours, theirs) = try LocalSocket.pair()
        let directory = try TemporaryDirectory()
        let path = directory.file("sent")
        try theirs.send { () throws(SystemError) in
            try Descriptor(path: path, flags: O_WRONLY | O_CREAT, mode: 0o600)
        }
        try ours.receiveDescriptor().write(Array("through it".utf8))
        #expect(Files.text(path) == "through it")
    }

    /// A container goes on when the disk has no room for its log's next file.
    @Test func whyThereIsNoneIsToldAndTheLineGoesOn() throws {
        let (ours, theirs) = try LocalSocket.pair()
        try theirs.send { () throws(SystemError) in
            throw SystemError(call: "open", subject: "log/2", code: ENOSPC)
        }
        let error = #expect(throws: SystemError.self) { _ = try ours.receiveDescriptor() }
        #expect(error?.code == ENOSPC)
        try theirs.send { () throws(SystemError) in try EventDescriptor.open() }
        _ = try ours.receiveDescriptor()
    }

    @Test func anEndThatClosesIsAnError() throws {
        let (ours, theirs) = try LocalSocket.pair()
        shutdown(theirs.number, Int32(SHUT_WR))
        let error = #expect(throws: SystemError.self) { _ = try ours.receiveDescriptor() }
        #expect(error?.code == EBADMSG)
    }
}
