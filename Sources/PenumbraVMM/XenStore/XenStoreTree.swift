// SPDX-License-Identifier: Apache-2.0

/// The nodes of a xenstore. A value: a transaction's view is a copy.
struct XenStoreTree {
    struct Node: Equatable {
        var value: [UInt8] = []
        var children: Set<String> = []
        /// Inherited by what is made below.
        var guestMayWrite: Bool
        /// As the guest set them; inherited as well.
        var permissions: [[UInt8]]?
        /// When the node or the list of its children last changed.
        var generation: UInt64 = 0
    }

    enum Author {
        case host, guest
    }

    /// A guest's limits, those of xenstored's defaults.
    static let nodeLimit = 1000
    static let valueLimit = 2048

    private(set) var nodes: [XenStorePath: Node] = [.root: Node(guestMayWrite: false)]
    private var generation: UInt64 = 0

    func node(_ path: XenStorePath) throws(XenStoreError) -> Node {
        guard let node = nodes[path] else { throw .noEntry }
        return node
    }

    /// Sets a value; nodes on the way that are not there are made.
    mutating func write(_ value: [UInt8], to path: XenStorePath, by author: Author) throws(XenStoreError) {
        guard author == .host || value.count <= Self.valueLimit else { throw .tooBig }
        try make(path, by: author)
        touch(path) { $0.value = value }
    }

    /// Makes a node without a value, if it is not there.
    mutating func make(_ path: XenStorePath, by author: Author) throws(XenStoreError) {
        var missing: [XenStorePath] = []
        var ancestor = path
        while nodes[ancestor] == nil, let parent = ancestor.parent {
            missing.append(ancestor)
            ancestor = parent
        }
        // The root is always there.
        let (guestMayWrite, permissions) = (nodes[ancestor]!.guestMayWrite, nodes[ancestor]!.permissions)
        if author == .guest {
            guard guestMayWrite else { throw .noAccess }
            guard nodes.count + missing.count <= Self.nodeLimit else { throw .noSpace }
        }
        for path in missing.reversed() {
            nodes[path] = Node(guestMayWrite: guestMayWrite, permissions: permissions)
            touch(path) { _ in }
            touch(path.parent!) { $0.children.insert(path.name) }
        }
    }

    /// Removes a node and all below. Returns whether it was there; its parent must be.
    mutating func remove(_ path: XenStorePath, by author: Author) throws(XenStoreError) -> Bool {
        guard let parent = path.parent else { throw .invalid }
        guard let node = nodes[path] else {
            guard nodes[parent] != nil else { throw .noEntry }
            return false
        }
        guard author == .host || node.guestMayWrite else { throw .noAccess }
        var doomed = [path]
        while let next = doomed.popLast() {
            if let removed = nodes.removeValue(forKey: next) { doomed += removed.children.map { next / $0 } }
        }
        touch(parent) { $0.children.remove(path.name) }
        return true
    }

    /// Only its owner can, and no permission binds the host.
    mutating func setPermissions(
        _ permissions: [[UInt8]], of path: XenStorePath, by author: Author
    ) throws(XenStoreError) {
        guard let node = nodes[path] else { throw .noEntry }
        guard author == .host || node.guestMayWrite else { throw .noAccess }
        touch(path) { $0.permissions = permissions }
    }

    /// Lets the guest write a node and what is made below it from now on.
    mutating func allowGuest(_ path: XenStorePath) { touch(path) { $0.guestMayWrite = true } }

    private mutating func touch(_ path: XenStorePath, _ change: (inout Node) -> Void) {
        generation += 1
        guard var node = nodes[path] else { return }
        change(&node)
        node.generation = generation
        nodes[path] = node
    }
}

/// What a guest is told when a request fails: the names of xs_wire.h.
enum XenStoreError: String, Error {
    case invalid = "EINVAL"
    case noAccess = "EACCES"
    case notPermitted = "EPERM"
    case exists = "EEXIST"
    case noEntry = "ENOENT"
    case noSpace = "ENOSPC"
    case tooBig = "E2BIG"
    case again = "EAGAIN"
    case busy = "EBUSY"
    case notImplemented = "ENOSYS"
}
