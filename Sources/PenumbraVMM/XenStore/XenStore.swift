// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// The xenstore of one guest: takes its requests, gives answers and events. It knows no ring; see
/// XenStoreRing for that.
struct XenStore {
    private static let watchLimit = 128
    private static let transactionLimit = 10
    private static let operationLimit = 512
    /// Nodes that one transaction looks at or changes.
    private static let touchedLimit = 1024
    /// Events that one transaction causes: without it a guest could have each of its changes told to
    /// each of its watches, in memory of ours.
    private static let eventLimit = 1024
    /// Of one node.
    private static let permissionLimit = 16
    /// With the longest path, an event still fits into a message.
    private static let tokenLimit = 1000

    private struct Watch {
        let path: XenStorePath
        /// Registered by a path from `home`; events tell their paths so too.
        let isRelative: Bool
        /// One of the names that stand for no node, such as "@releaseDomain".
        let isSpecial: Bool
        let given: [UInt8]
        let token: [UInt8]
    }

    private enum Change {
        case write(XenStorePath, [UInt8])
        case make(XenStorePath)
        case remove(XenStorePath)
        case permit(XenStorePath, [[UInt8]])

        var path: XenStorePath {
            switch self {
            case .write(let path, _), .make(let path), .remove(let path), .permit(let path, _): path
            }
        }
    }

    /// Works on a copy; at its end its changes are made once more on the tree, unless somebody
    /// changed meanwhile what it looked at.
    private struct Transaction {
        let base: XenStoreTree
        var view: XenStoreTree
        var touched: Set<XenStorePath> = []
        var changes: [Change] = []
    }

    private struct Event: Hashable {
        let path: String
        let token: [UInt8]
    }

    private enum Output {
        case message(XenStoreMessage)
        case event(Event)
    }

    let home: XenStorePath
    private(set) var tree = XenStoreTree()
    private var watches: [Watch] = []
    private var transactions: [UInt32: Transaction] = [:]
    private var lastTransaction: UInt32 = 0
    /// A slice: its first goes without the others moving.
    private var output: ArraySlice<Output> = []
    /// Events in `output`: one that the guest has not seen yet says it all.
    private var waiting: Set<Event> = []
    /// Nodes that the host watches with all below, and whether the guest changed something there.
    private var observed: [XenStorePath: Bool] = [:]

    init(domain: UInt32) {
        home = XenStorePath(trusted: "/local/domain/\(domain)")
    }

    /// Sets a value from the host's side.
    mutating func write(_ value: String, to path: XenStorePath) {
        apply(.write(path, Array(value.utf8)), by: .host)
    }

    /// Makes a node that the guest may change, with all that comes below.
    mutating func makeGuestDirectory(_ path: XenStorePath) {
        apply(.make(path), by: .host)
        tree.allowGuest(path)
    }

    /// The value of a node, as text; nil if it is not there.
    func read(_ path: XenStorePath) -> String? {
        (try? tree.node(path)).map { String(decoding: $0.value, as: UTF8.self) }
    }

    /// Has the guest's changes of a node and of all below it noticed; see `takeChange`.
    mutating func observe(_ path: XenStorePath) { observed[path] = false }

    /// Whether the guest changed something there since the last call.
    mutating func takeChange(of path: XenStorePath) -> Bool {
        defer { if observed[path] != nil { observed[path] = false } }
        return observed[path] ?? false
    }

    private mutating func noteGuestChange(of path: XenStorePath) {
        for place in observed.keys where place.contains(path) || path.contains(place) {
            observed[place] = true
        }
    }

    /// The host is bound by no limit and no permission, and never removes what is not there.
    private mutating func apply(_ change: Change, by author: XenStoreTree.Author) {
        if let removal = try? Self.perform(change, on: &tree, by: author) {
            tell(events(of: change, isRemoval: removal))
        }
    }

    // MARK: Messages

    /// The bytes of the next message for the guest.
    mutating func takeOutput() -> [UInt8]? {
        switch output.popFirst() {
        case nil: return nil
        case .message(let message): return message.bytes
        case .event(let event):
            waiting.remove(event)
            return XenStoreMessage(
                type: XenStoreMessage.Kind.watchEvent.rawValue, request: 0, transaction: 0,
                payload: Array(event.path.utf8) + [0] + event.token + [0]
            ).bytes
        }
    }

    /// Serves a request: exactly one answer, and the events that it causes behind it.
    mutating func handle(_ request: XenStoreMessage) {
        let place = output.endIndex
        var answer = request
        do throws(XenStoreError) {
            answer.payload = try self.answer(to: request)
            guard answer.payload.count <= XenStoreMessage.payloadLimit else { throw .tooBig }
        } catch {
            answer.type = XenStoreMessage.Kind.error.rawValue
            answer.payload = Array(error.rawValue.utf8) + [0]
        }
        output.insert(.message(answer), at: place)
    }

    private static let done = Array("OK\0".utf8)

    private mutating func answer(to request: XenStoreMessage) throws(XenStoreError) -> [UInt8] {
        guard let kind = XenStoreMessage.Kind(rawValue: request.type) else { throw .notImplemented }
        switch kind {
        case .directory: return Self.list(try node(for: request).children.sorted())
        case .read: return try node(for: request).value
        case .getPermissions: return permissions(of: try node(for: request))
        case .setPermissions:
            let (path, entries) = try pathAndPermissions(request)
            return try change(.permit(path, entries), request)
        case .write:
            let (path, value) = try pathAndValue(request)
            return try change(.write(path, value), request)
        case .makeDirectory: return try change(.make(try onlyPath(request)), request)
        case .remove: return try change(.remove(try onlyPath(request)), request)
        case .watch: return try watch(request)
        case .unwatch: return try unwatch(request)
        case .transactionStart: return try startTransaction(request)
        case .transactionEnd: return try endTransaction(request)
        case .domainPath: return Array("/local/domain/\(try domainNumber(request))\0".utf8)
        case .isDomainIntroduced: return Array(try domainNumber(request) == domain ? "T\0".utf8 : "F\0".utf8)
        case .watchEvent, .error: throw .invalid
        }
    }

    /// Without any of its own a node is the guest's, or it is domain 0's and the guest may read it.
    private func permissions(of node: XenStoreTree.Node) -> [UInt8] {
        if let entries = node.permissions { return entries.flatMap { $0 + [0] } }
        return Array((node.guestMayWrite ? "n\(domain)\0" : "n0\0r\(domain)\0").utf8)
    }

    private static func list(_ names: [String]) -> [UInt8] { names.flatMap { Array($0.utf8) + [0] } }

    private var domain: String { home.name }

    // MARK: Arguments

    /// Strings that each end with a zero byte; nothing may follow the last.
    private static func strings(_ request: XenStoreMessage, count: Int) throws(XenStoreError) -> [[UInt8]] {
        var parts = request.payload.split(separator: 0, omittingEmptySubsequences: false).map(Array.init)
        guard parts.count == count + 1, parts.removeLast().isEmpty else { throw .invalid }
        return parts
    }

    private func path(_ bytes: [UInt8]) throws(XenStoreError) -> XenStorePath {
        guard let path = XenStorePath(bytes, home: home) else { throw .invalid }
        return path
    }

    private func onlyPath(_ request: XenStoreMessage) throws(XenStoreError) -> XenStorePath {
        try path(Self.strings(request, count: 1)[0])
    }

    private func pathAndValue(
        _ request: XenStoreMessage
    ) throws(XenStoreError) -> (XenStorePath, [UInt8]) {
        guard let end = request.payload.firstIndex(of: 0) else { throw .invalid }
        return (try path(Array(request.payload[..<end])), Array(request.payload[(end + 1)...]))
    }

    /// A letter and a domain's number each, the owner's first: the guest can share its nodes with others, of
    /// which there are none, and cannot give them away.
    private func pathAndPermissions(
        _ request: XenStoreMessage
    ) throws(XenStoreError) -> (XenStorePath, [[UInt8]]) {
        var parts = request.payload.split(separator: 0, omittingEmptySubsequences: false).map(Array.init)
        guard parts.count >= 3, parts.removeLast().isEmpty else { throw .invalid }
        let entries = Array(parts.dropFirst())
        guard entries.count <= Self.permissionLimit else { throw .noSpace }
        let owners = entries.map { entry in
            entry.first.map("nrwb".utf8.contains) == true
                ? UInt16(String(decoding: entry.dropFirst(), as: UTF8.self)) : nil
        }
        guard owners.allSatisfy({ $0 != nil }) else { throw .invalid }
        guard owners[0] == UInt16(domain) else { throw .notPermitted }
        return (try path(parts[0]), entries)
    }

    private func domainNumber(_ request: XenStoreMessage) throws(XenStoreError) -> String {
        let text = String(decoding: try Self.strings(request, count: 1)[0], as: UTF8.self)
        guard let number = UInt16(text) else { throw .invalid }
        return String(number)
    }

    // MARK: Nodes

    /// The node that a request is about, in its transaction's view.
    private mutating func node(for request: XenStoreMessage) throws(XenStoreError) -> XenStoreTree.Node {
        let path = try onlyPath(request)
        if request.transaction == 0 { return try tree.node(path) }
        guard let touched = transactions[request.transaction]?.touched.count else { throw .noEntry }
        guard touched < Self.touchedLimit else { throw .noSpace }
        transactions[request.transaction]!.touched.insert(path)
        return try transactions[request.transaction]!.view.node(path)
    }

    private mutating func change(
        _ change: Change, _ request: XenStoreMessage
    ) throws(XenStoreError) -> [UInt8] {
        if request.transaction == 0 {
            let removal = try Self.perform(change, on: &tree, by: .guest)
            tell(events(of: change, isRemoval: removal))
            noteGuestChange(of: change.path)
            return Self.done
        }
        guard var transaction = transactions[request.transaction] else { throw .noEntry }
        guard transaction.changes.count < Self.operationLimit else { throw .noSpace }
        _ = try Self.perform(change, on: &transaction.view, by: .guest)
        transaction.touched.insert(change.path)
        transaction.changes.append(change)
        transactions[request.transaction] = transaction
        return Self.done
    }

    /// nil: nothing changed. Else whether nodes went away.
    private static func perform(
        _ change: Change, on tree: inout XenStoreTree, by author: XenStoreTree.Author
    ) throws(XenStoreError) -> Bool? {
        switch change {
        case .write(let path, let value): try tree.write(value, to: path, by: author)
        case .make(let path):
            if (try? tree.node(path)) != nil { return nil }
            try tree.make(path, by: author)
        case .remove(let path): return try tree.remove(path, by: author) ? true : nil
        case .permit(let path, let entries): try tree.setPermissions(entries, of: path, by: author)
        }
        return false
    }

    // MARK: Watches

    private mutating func watch(_ request: XenStoreMessage) throws(XenStoreError) -> [UInt8] {
        let parts = try Self.strings(request, count: 2)
        let (given, token) = (parts[0], parts[1])
        let isSpecial = given.first == UInt8(ascii: "@")
        let watch = Watch(
            path: try path(given), isRelative: given.first != UInt8(ascii: "/"), isSpecial: isSpecial,
            given: given, token: token)
        guard token.count <= Self.tokenLimit else { throw .tooBig }
        guard !watches.contains(where: { $0.given == given && $0.token == token }) else { throw .exists }
        guard watches.count < Self.watchLimit else { throw .noSpace }
        watches.append(watch)
        // At once, so that the guest looks at what is there already.
        output.append(.event(Event(path: String(decoding: given, as: UTF8.self), token: token)))
        return Self.done
    }

    private mutating func unwatch(_ request: XenStoreMessage) throws(XenStoreError) -> [UInt8] {
        let parts = try Self.strings(request, count: 2)
        guard let index = watches.firstIndex(where: { $0.given == parts[0] && $0.token == parts[1] }) else {
            throw .noEntry
        }
        watches.remove(at: index)
        return Self.done
    }

    /// For the watches of a node and of all above it; of all below it too if they are gone.
    private func events(of change: Change, isRemoval: Bool?) -> [Event] {
        guard let isRemoval else { return [] }
        return watches.filter { !$0.isSpecial }.compactMap { watch in
            if watch.path.contains(change.path) {
                let path = watch.isRelative ? change.path.relative(to: home) : change.path.text
                return Event(path: path, token: watch.token)
            }
            guard isRemoval, change.path.contains(watch.path) else { return nil }
            return Event(path: String(decoding: watch.given, as: UTF8.self), token: watch.token)
        }
    }

    private mutating func tell(_ events: [Event]) {
        for event in events where waiting.insert(event).inserted { output.append(.event(event)) }
    }

    // MARK: Transactions

    private mutating func startTransaction(_ request: XenStoreMessage) throws(XenStoreError) -> [UInt8] {
        guard request.transaction == 0 else { throw .busy }
        guard transactions.count < Self.transactionLimit else { throw .noSpace }
        repeat { lastTransaction &+= 1 } while lastTransaction == 0 || transactions[lastTransaction] != nil
        transactions[lastTransaction] = Transaction(base: tree, view: tree)
        return Array("\(lastTransaction)\0".utf8)
    }

    private mutating func endTransaction(_ request: XenStoreMessage) throws(XenStoreError) -> [UInt8] {
        let verdict = try Self.strings(request, count: 1)[0]
        guard verdict == [UInt8(ascii: "T")] || verdict == [UInt8(ascii: "F")] else { throw .invalid }
        guard let transaction = transactions.removeValue(forKey: request.transaction) else { throw .noEntry }
        if verdict == [UInt8(ascii: "T")] { try commit(transaction) }
        return Self.done
    }

    private mutating func commit(_ transaction: Transaction) throws(XenStoreError) {
        let conflict = transaction.touched.contains {
            transaction.base.nodes[$0]?.generation != tree.nodes[$0]?.generation
        }
        if conflict { throw .again }
        var result = tree
        var events: [Event] = []
        var distinct: Set<Event> = []
        for change in transaction.changes {
            let removal = try Self.perform(change, on: &result, by: .guest)
            for event in self.events(of: change, isRemoval: removal) where distinct.insert(event).inserted {
                events.append(event)
            }
            guard events.count <= Self.eventLimit else { throw .noSpace }
        }
        tree = result
        tell(events)
        for change in transaction.changes { noteGuestChange(of: change.path) }
    }
}
