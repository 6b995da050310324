// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraProtocol

/// Docker's rules, as its manual of `cp` has them.
@Suite struct CopyTargetTests {
    private func target(_ path: String, _ existing: CopyTarget.Existing, directory: Bool) throws -> String {
        let target = try CopyTarget(Array(path.utf8), existing: existing, sourceIsDirectory: directory)
        let name = target.name.map { String(decoding: $0, as: UTF8.self) } ?? "*"
        return "\(String(decoding: target.directory, as: UTF8.self)) \(name)"
    }

    @Test(arguments: [
        ("/a/b", CopyTarget.Existing.nothing, false, "/a/ b"), ("/a/b", .nothing, true, "/a/ b"),
        ("/a/b/", .nothing, true, "/a/ b"), ("b", .nothing, false, ". b"), ("/b", .other, false, "/ b"),
        ("/a/b", .directory, false, "/a/b *"), ("/a/b/", .directory, true, "/a/b/ *"),
        ("/", .directory, true, "/ *"), ("a//b//", .nothing, true, "a// b"),
    ])
    func aCopyGoes(to path: String, _ existing: CopyTarget.Existing, _ directory: Bool, _ there: String)
        throws
    {
        #expect(try target(path, existing, directory: directory) == there)
    }

    @Test func orNowhere() {
        #expect(throws: CopyTarget.Problem.noDirectory(Array("/a/b/".utf8))) {
            try target("/a/b/", .nothing, directory: false)
        }
        #expect(throws: CopyTarget.Problem.directoryOverFile(Array("/a/b".utf8))) {
            try target("/a/b", .other, directory: true)
        }
    }

    @Test func namesInTheStreamBeginWithTheFirst() throws {
        let (x, y, z) = ([UInt8(120)], [UInt8(121)], [UInt8(122)])
        let renamed = try CopyTarget(z, existing: .nothing, sourceIsDirectory: true)
        #expect(renamed.place([x, y], top: x) == [z, y] && renamed.place([y], top: nil) == [z, y])
        #expect(renamed.place([], top: nil) == [z] && renamed.place([y, x], top: x) == nil)
        #expect(renamed.place([], top: x) == nil)
        let within = CopyTarget(within: z)
        #expect(within.place([x, y], top: x) == [x, y] && within.place([], top: nil) == [])
    }
}
