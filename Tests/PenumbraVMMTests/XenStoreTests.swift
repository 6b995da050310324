// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

/// Speaks xenstore's protocol to a store.
struct StoreClient {
    typealias Kind = XenStoreMessage.Kind

    var store: XenStore
    private var lastRequest: UInt32 = 0

    init(_ store: XenStore) { self.store = store }

    static func domain() throws -> XenStore {
        XenStoreDomain(
            name: "test", identifier: "1-2", memory: try MemorySize("256M"), cpus: 2, consoleFrame: 7,
            storeFrame: 6
        ).store()
    }

    static func text(_ strings: String...) -> [UInt8] { strings.flatMap { Array($0.utf8) + [0] } }

    /// Messages that wait for the guest.
    mutating func pending() throws -> [XenStoreMessage] {
        var decoder = XenStoreDecoder()
        while let bytes = store.takeOutput() { decoder.append(bytes) }
        var messages: [XenStoreMessage] = []
        while let message = try decoder.next() { messages.append(message) }
        return messages
    }

    /// The answer's payload, or the name of the error; then the events, "path token" each.
    mutating func ask(
        _ kind: UInt32, _ payload: [UInt8], transaction: UInt32 = 0
    ) throws -> (answer: String, events: [String]) {
        lastRequest += 1
        store.handle(
            XenStoreMessage(type: kind, request: lastRequest, transaction: transaction, payload: payload))
        let messages = try pending()
        let answer = try #require(messages.first)
        #expect(answer.request == lastRequest && answer.transaction == transaction)
        #expect(answer.type == kind || answer.type == Kind.error.rawValue)
        return (Self.joined(answer.payload), messages.dropFirst().map(Self.event))
    }

    static func event(_ message: XenStoreMessage) -> String {
        #expect(message.type == Kind.watchEvent.rawValue && message.request == 0 && message.transaction == 0)
        return joined(message.payload)
    }

    private static func joined(_ payload: [UInt8]) -> String {
        payload.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
    }

    mutating func ask(
        _ kind: Kind, _ path: String, transaction: UInt32 = 0
    ) throws -> (answer: String, events: [String]) {
        try ask(kind.rawValue, Self.text(path), transaction: transaction)
    }

    mutating func write(
        _ path: String, _ value: String, transaction: UInt32 = 0
    ) throws -> (answer: String, events: [String]) {
        try ask(Kind.write.rawValue, Self.text(path) + Array(value.utf8), transaction: transaction)
    }

    mutating func read(_ path: String, transaction: UInt32 = 0) throws -> String {
        try ask(.read, path, transaction: transaction).answer
    }

    mutating func watch(_ path: String, _ token: String) throws -> (answer: String, events: [String]) {
        try ask(Kind.watch.rawValue, Self.text(path, token))
    }

    mutating func begin() throws -> UInt32 {
        try #require(UInt32(try ask(.transactionStart, "").answer))
    }

    mutating func end(_ transaction: UInt32, _ verdict: String = "T") throws -> (
        answer: String, events: [String]
    ) {
        try ask(.transactionEnd, verdict, transaction: transaction)
    }
}

@Suite struct XenStoreTests {
    private func client() throws -> StoreClient { StoreClient(try StoreClient.domain()) }

    @Test func aGuestFindsItsNodes() throws {
        var client = try client()
        for (path, value) in [
            ("name", "test"), ("domid", "1"), ("vm", "/vm/1-2"), ("/vm/1-2/name", "test"),
            ("memory/target", "262144"), ("cpu/0/availability", "online"), ("cpu/1/availability", "online"),
            ("console/port", "2"),
            ("console/ring-ref", "7"), ("store/ring-ref", "6"), ("control/shutdown", ""),
            ("/local/domain/1/name", "test"),
        ] {
            #expect(try client.read(path) == value, "\(path)")
        }
        #expect(try client.ask(.directory, "cpu").answer == "0 1")
        #expect(try client.ask(.directory, "/").answer == "local vm")
        #expect(try client.ask(.directory, "control/shutdown").answer == "")
    }

    @Test func whatIsNotThereIsTold() throws {
        var client = try client()
        #expect(try client.read("device") == "ENOENT")
        #expect(try client.ask(.directory, "backend").answer == "ENOENT")
    }

    @Test func writingMakesParents() throws {
        var client = try client()
        #expect(try client.write("data/a/b", "x").answer == "OK")
        #expect(try client.read("data/a/b") == "x" && client.read("data/a") == "")
        #expect(try client.ask(.directory, "data").answer == "a")
        #expect(try client.ask(.makeDirectory, "data/a/c").answer == "OK")
        #expect(try client.ask(.makeDirectory, "data/a/b").answer == "OK")
        #expect(try client.read("data/a/b") == "x")
        #expect(try client.ask(.directory, "data/a").answer == "b c")
    }

    @Test func valuesMayHoldAnyByte() throws {
        var client = try client()
        client.store.handle(
            XenStoreMessage(
                type: 11, request: 1, transaction: 0, payload: Array("data/v\0".utf8) + [0, 255, 0]))
        _ = try client.pending()
        client.store.handle(
            XenStoreMessage(type: 2, request: 2, transaction: 0, payload: Array("data/v\0".utf8)))
        #expect(try client.pending().first?.payload == [0, 255, 0])
    }

    @Test func removingTakesAllBelow() throws {
        var client = try client()
        _ = try client.write("data/a/b/c", "x")
        #expect(try client.ask(.remove, "data/a").answer == "OK")
        #expect(try client.read("data/a/b/c") == "ENOENT")
        #expect(try client.ask(.directory, "data").answer == "")
        // Gone already is no error; gone with its parent is.
        #expect(try client.ask(.remove, "data/a").answer == "OK")
        #expect(try client.ask(.remove, "data/a/b").answer == "ENOENT")
        #expect(try client.ask(.remove, "/").answer == "EINVAL")
    }

    @Test func theGuestWritesOnlyWhatIsItsOwn() throws {
        var client = try client()
        for path in ["name", "/x", "/vm/1-2/name", "memory/target", "cpu/0/availability", "device/vbd", "/"] {
            #expect(try client.write(path, "x").answer == "EACCES", "\(path)")
        }
        #expect(try client.ask(.remove, "name").answer == "EACCES")
        #expect(try client.ask(.remove, "/local/domain/1").answer == "EACCES")
        for path in ["control/feature-poweroff", "control/shutdown", "error/device", "data/x"] {
            #expect(try client.write(path, "1").answer == "OK", "\(path)")
        }
        #expect(try client.ask(.getPermissions, "name").answer == "n0 r1")
        #expect(try client.ask(.getPermissions, "data/x").answer == "n1")
    }

    @Test(arguments: ["", "a//b", "a/", "//", "a b", "a\u{1}", "é", String(repeating: "a", count: 3100)])
    func otherPathsAreRefused(_ path: String) throws {
        var client = try client()
        #expect(try client.read(path) == "EINVAL")
        #expect(try client.write(path, "x").answer == "EINVAL")
        #expect(try client.watch(path, "t").answer == "EINVAL")
    }

    @Test func unfinishedArgumentsAreRefused() throws {
        var client = try client()
        for kind in [StoreClient.Kind.read, .directory, .watch, .unwatch, .write, .remove, .transactionEnd] {
            #expect(try client.ask(kind.rawValue, Array("name".utf8)).answer == "EINVAL", "\(kind)")
            #expect(try client.ask(kind.rawValue, []).answer == "EINVAL", "\(kind)")
        }
        #expect(
            try client.ask(StoreClient.Kind.read.rawValue, StoreClient.text("name", "name")).answer
                == "EINVAL")
        #expect(try client.ask(StoreClient.Kind.watch.rawValue, StoreClient.text("name")).answer == "EINVAL")
    }

    @Test(arguments: [UInt32(0), 8, 9, 18, 19, 20, 21, 22, 99, .max])
    func otherRequestsAreNotImplemented(_ kind: UInt32) throws {
        var client = try client()
        #expect(try client.ask(kind, StoreClient.text("name")).answer == "ENOSYS")
    }

    @Test func domainsAreNamed() throws {
        var client = try client()
        #expect(try client.ask(.domainPath, "1").answer == "/local/domain/1")
        #expect(try client.ask(.isDomainIntroduced, "1").answer == "T")
        #expect(try client.ask(.isDomainIntroduced, "2").answer == "F")
        #expect(try client.ask(.domainPath, "x").answer == "EINVAL")
    }

    // MARK: Watches

    @Test func aWatchFiresAtOnceAndForAllBelow() throws {
        var client = try client()
        let first = try client.watch("data", "T1")
        #expect(first.answer == "OK" && first.events == ["data T1"])
        #expect(try client.write("data/a/b", "x").events == ["data/a/b T1"])
        #expect(try client.write("data", "x").events == ["data T1"])
        #expect(try client.ask(.makeDirectory, "data/c").events == ["data/c T1"])
        #expect(try client.ask(.makeDirectory, "data/c").events == [])
        #expect(try client.ask(.remove, "data/a").events == ["data/a T1"])
        #expect(try client.ask(.remove, "data/a").events == [])
        #expect(try client.write("control/x", "x").events == [])
        #expect(try client.write("database", "x").events == [])
    }

    @Test func eventsNameNodesAsTheWatchDid() throws {
        var client = try client()
        _ = try client.watch("/local/domain/1/data", "absolute")
        _ = try client.watch("data/a", "relative")
        #expect(
            try client.write("data/a/b", "x").events
                == ["/local/domain/1/data/a/b absolute", "data/a/b relative"])
    }

    @Test func watchesBelowWhatIsRemovedFire() throws {
        var client = try client()
        _ = try client.write("data/a/b", "x")
        _ = try client.watch("data/a/b/c", "T")
        #expect(try client.write("data/a", "x").events == [])
        #expect(try client.ask(.remove, "data/a").events == ["data/a/b/c T"])
    }

    @Test func theHostsWritesFireToo() throws {
        var client = try client()
        _ = try client.watch("control/shutdown", "T")
        client.store.write("poweroff", to: client.store.home / "control/shutdown")
        #expect(try client.pending().map(StoreClient.event) == ["control/shutdown T"])
        #expect(try client.read("control/shutdown") == "poweroff")
    }

    @Test func watchesAreKnownByPathAndToken() throws {
        var client = try client()
        _ = try client.watch("data", "1")
        #expect(try client.watch("data", "1").answer == "EEXIST")
        #expect(try client.watch("data", "2").answer == "OK")
        let unwatch = StoreClient.Kind.unwatch.rawValue
        #expect(try client.ask(unwatch, StoreClient.text("data", "1")).answer == "OK")
        #expect(try client.ask(unwatch, StoreClient.text("data", "1")).answer == "ENOENT")
        #expect(try client.write("data", "x").events == ["data 2"])
    }

    @Test func specialWatchesFireOnce() throws {
        var client = try client()
        #expect(try client.watch("@releaseDomain", "T").events == ["@releaseDomain T"])
        #expect(try client.write("data/x", "").events == [])
    }

    // MARK: Transactions

    @Test func aTransactionIsSeenByNobodyUntilItsEnd() throws {
        var client = try client()
        _ = try client.watch("data", "T")
        let id = try client.begin()
        #expect(try client.write("data/x", "1", transaction: id).events == [])
        #expect(try client.read("data/x", transaction: id) == "1")
        #expect(try client.read("data/x") == "ENOENT")
        let end = try client.end(id)
        #expect(end.answer == "OK" && end.events == ["data/x T"])
        #expect(try client.read("data/x") == "1")
    }

    @Test func anAbortedTransactionLeavesNothing() throws {
        var client = try client()
        let id = try client.begin()
        _ = try client.write("data/x", "1", transaction: id)
        #expect(try client.end(id, "F").answer == "OK")
        #expect(try client.read("data/x") == "ENOENT")
        #expect(try client.end(id).answer == "ENOENT")
    }

    @Test func conflictsAreNoticed() throws {
        var client = try client()
        for touch in ["read", "write", "absent", "removed"] {
            _ = try client.write("data/x", "0")
            let id = try client.begin()
            switch touch {
            case "read": _ = try client.read("data/x", transaction: id)
            case "write": _ = try client.write("data/x", "1", transaction: id)
            case "absent": _ = try client.read("data/\(touch)", transaction: id)
            default: _ = try client.ask(.remove, "data/x", transaction: id)
            }
            _ = try client.write(touch == "absent" ? "data/absent" : "data/x", "2")
            _ = try client.write("data/result", "lost", transaction: id)
            #expect(try client.end(id).answer == "EAGAIN", "\(touch)")
            #expect(try client.read("data/result") == "ENOENT")
        }
    }

    @Test func changesElsewhereAreNoConflict() throws {
        var client = try client()
        let (first, second) = (try client.begin(), try client.begin())
        _ = try client.write("data/a", "1", transaction: first)
        _ = try client.write("data/b", "2", transaction: second)
        #expect(try client.end(second).answer == "OK")
        #expect(try client.end(first).answer == "OK")
        #expect(try client.ask(.directory, "data").answer == "a b")
    }

    /// Also nodes that are absent are noted, for the conflicts: not without end.
    @Test func aTransactionLooksAtSoManyNodes() throws {
        var client = try client()
        let id = try client.begin()
        for index in 0..<1024 { #expect(try client.read("n\(index)", transaction: id) == "ENOENT") }
        #expect(try client.read("n1024", transaction: id) == "ENOSPC")
        #expect(try client.end(id, "F").answer == "OK")
    }

    @Test func transactionsDoNotNestAndMustExist() throws {
        var client = try client()
        let id = try client.begin()
        #expect(try client.ask(.transactionStart, "", transaction: id).answer == "EBUSY")
        #expect(try client.read("name", transaction: id + 1) == "ENOENT")
        #expect(try client.write("data/x", "", transaction: id + 1).answer == "ENOENT")
        #expect(try client.end(id, "X").answer == "EINVAL")
    }

    // MARK: Limits

    @Test func everythingAGuestCanHoardHasALimit() throws {
        var client = try client()
        for index in 0..<128 { #expect(try client.watch("data", "\(index)").answer == "OK") }
        #expect(try client.watch("data", "more").answer == "ENOSPC")
        for _ in 0..<10 { _ = try client.begin() }
        #expect(try client.ask(.transactionStart, "").answer == "ENOSPC")
        #expect(try client.write("data/v", String(repeating: "x", count: 2048)).answer == "OK")
        #expect(try client.write("data/v", String(repeating: "x", count: 2049)).answer == "E2BIG")
        var nodes = 0
        while try client.write("data/n\(nodes)", "").answer == "OK" { nodes += 1 }
        #expect((900..<1000).contains(nodes))
        #expect(try client.write("data/n\(nodes)", "").answer == "ENOSPC")
        #expect(try client.write("data/n0", "again").answer == "OK")
        #expect(try client.write("data/deep" + String(repeating: "/d", count: 500), "").answer == "ENOSPC")
    }

    @Test func aTransactionsChangesHaveALimit() throws {
        var client = try client()
        let id = try client.begin()
        for _ in 0..<512 { #expect(try client.write("data/x", "", transaction: id).answer == "OK") }
        #expect(try client.write("data/x", "", transaction: id).answer == "ENOSPC")
    }

    /// Each of 128 watches would be told of each change.
    @Test func aTransactionsEventsHaveALimit() throws {
        var client = try client()
        for index in 0..<128 { _ = try client.watch("data", "\(index)") }
        func write(_ count: Int, _ value: String) throws -> (answer: String, events: [String]) {
            let id = try client.begin()
            for index in 0..<count { _ = try client.write("data/\(index)", value, transaction: id) }
            return try client.end(id)
        }
        let most = try write(8, "a")
        #expect(most.answer == "OK" && most.events.count == 1024)
        let more = try write(9, "b")
        #expect(more.answer == "ENOSPC" && more.events.isEmpty)
        #expect(try client.read("data/0") == "a" && client.read("data/8") == "ENOENT")
    }

    /// A guest that has not read of one change learns of the next by the same event.
    @Test func anEventWaitsOnce() throws {
        var client = try client()
        #expect(try client.watch("data", "t").answer == "OK")
        let id = try client.begin()
        for _ in 0..<512 { _ = try client.write("data/x", "", transaction: id) }
        let end = try client.end(id)
        #expect(end.answer == "OK" && end.events == ["data/x t"])
        for value in ["1", "2"] { client.store.write(value, to: client.store.home / "data/x") }
        #expect(try client.pending().map(StoreClient.event) == ["data/x t"])
        client.store.write("3", to: client.store.home / "data/x")
        #expect(try client.pending().map(StoreClient.event) == ["data/x t"])
    }

    @Test func aGuestSharesWhatIsItsOwn() throws {
        var client = try client()
        func set(_ path: String, _ entries: String...) throws -> String {
            try client.ask(
                StoreClient.Kind.setPermissions.rawValue,
                StoreClient.text(path) + entries.flatMap { StoreClient.text($0) }
            ).answer
        }
        _ = try client.write("data/x", "1")
        #expect(try set("data/x", "n1", "r0", "b7") == "OK")
        #expect(try client.ask(.getPermissions, "data/x").answer == "n1 r0 b7")
        #expect(try client.write("data/x/below", "1").answer == "OK")
        #expect(try client.ask(.getPermissions, "data/x/below").answer == "n1 r0 b7")
        #expect(try set("name", "n1") == "EACCES" && set("data/none", "n1") == "ENOENT")
        #expect(try set("data/x", "n0") == "EPERM")
        for entry in ["", "x1", "n", "n1x", "n65536"] { #expect(try set("data/x", "n1", entry) == "EINVAL") }
        let entries = StoreClient.text("data/x") + (0..<17).flatMap { _ in StoreClient.text("n1") }
        #expect(try client.ask(StoreClient.Kind.setPermissions.rawValue, entries).answer == "ENOSPC")
    }

    @Test func longTokensAndListsAreRefused() throws {
        var client = try client()
        #expect(try client.watch("data", String(repeating: "t", count: 1000)).answer == "OK")
        #expect(try client.watch("data", String(repeating: "t", count: 1001)).answer == "E2BIG")
        for index in 0..<50 { _ = try client.write("data/\(index)" + String(repeating: "n", count: 90), "") }
        #expect(try client.ask(.directory, "data").answer == "E2BIG")
    }
}
