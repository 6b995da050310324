// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization
import Testing

@testable import PenumbraJail

/// Landlock by itself: without the empty root and the list of system calls around it.
@Suite("Landlock", .enabled(if: geteuid() == 0 && Landlock.version != nil, "needs root and landlock"))
struct LandlockTests {
    private let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
        try Files.makeDirectories(directory.file("shared"))
        try Files.write(Array("inside".utf8), to: directory.file("shared/file"))
        try Files.write(Array("outside".utf8), to: directory.file("secret"))
    }

    /// On a thread of its own, which takes its restrictions along: the error of each open(2), 0 for none.
    private func errors(readOnly: Bool, _ opened: [(name: String, flags: Int32)]) throws -> [Int32] {
        let share = Jail.Directory(directory.file("shared"), isReadOnly: readOnly)
        let paths = opened.map { (directory.file($0.name), $0.flags) }
        let errors = Mutex<[Int32]>([])
        try SystemThread(name: "restricted") {
            do throws(SystemError) {
                try Landlock.restrict(to: [share], version: Landlock.version!)
            } catch { return errors.withLock { $0 = [error.code] } }
            for (path, flags) in paths {
                let number = open(path, flags, 0o600)
                errors.withLock { $0.append(number < 0 ? errno : 0) }
                if number >= 0 { close(number) }
            }
        }.join()
        return errors.withLock { $0 }
    }

    @Test("what is shared can be read and written, all else cannot be opened") func shares() throws {
        let results = try errors(
            readOnly: false,
            [
                ("shared/file", O_RDWR), ("shared/new", O_WRONLY | O_CREAT), ("secret", O_RDONLY),
                ("new", O_WRONLY | O_CREAT), ("shared/../secret", O_RDONLY),
            ])
        #expect(results == [0, 0, EACCES, EACCES, EACCES])
    }

    @Test("a read-only share is that") func readOnly() throws {
        let results = try errors(
            readOnly: true,
            [("shared/file", O_RDONLY), ("shared/file", O_WRONLY), ("shared/new", O_WRONLY | O_CREAT)])
        #expect(results == [0, EACCES, EACCES])
    }

    @Test("no version withholds what it does not know", arguments: 1...7) func rights(_ version: Int) {
        let bits = [1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16, 7: 16]
        #expect(Landlock.rights(version: version).nonzeroBitCount == bits[version])
    }
}
