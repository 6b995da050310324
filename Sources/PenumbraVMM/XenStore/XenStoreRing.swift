// SPDX-License-Identifier: Apache-2.0

/// The page through which a guest speaks to its xenstore (Xen's public/io/xs_wire.h, struct
/// xenstore_domain_interface).
struct XenStoreRing {
    private static let ringSize: UInt32 = 1024
    private static let errorOffset: UInt64 = 0x818
    private static let stepLimit = 64

    /// Values of the page's error field.
    private enum Failure: UInt32 {
        case indices = 2
        case protocolViolation = 3
    }

    private let memory: GuestMemory
    private let page: GuestPhysical
    private let requests: SharedRing
    private let responses: SharedRing
    private var decoder = XenStoreDecoder()
    private var unsent: ArraySlice<UInt8> = []
    private var failure: Failure?
    var store: XenStore

    init(memory: GuestMemory, frame: UInt64, store: XenStore) {
        let page = GuestPhysical(frame: frame)
        self.memory = memory
        self.page = page
        self.store = store
        requests = SharedRing(
            memory: memory, start: page, size: Self.ringSize, consumed: page + 0x800, produced: page + 0x804)
        responses = SharedRing(
            memory: memory, start: page + 0x400, size: Self.ringSize, consumed: page + 0x808,
            produced: page + 0x80c)
    }

    struct Progress: Equatable {
        /// The guest is to be told that something moved.
        var notify = false
        /// There is more to do, at once.
        var unfinished = false
    }

    /// Moves what can be moved, a bounded number of steps. A guest that breaks the protocol finds
    /// the reason in its page and is served no more; the rest of the VM runs on.
    mutating func pump() throws -> Progress {
        guard failure == nil else { return Progress() }
        var progress = Progress(unfinished: true)
        do {
            for _ in 0..<Self.stepLimit where progress.unfinished {
                progress.unfinished = try step()
                if progress.unfinished { progress.notify = true }
            }
        } catch is SharedRing.BadIndices {
            failure = .indices
        } catch is XenStoreDecoder.PayloadTooLong {
            failure = .protocolViolation
        }
        guard let failure else { return progress }
        try memory.storeShared(failure.rawValue, at: page + Self.errorOffset)
        return Progress(notify: true)
    }

    /// One piece of work. Requests wait until the answers before them have gone, so that a guest
    /// that does not read cannot make us hoard them.
    private mutating func step() throws -> Bool {
        if unsent.isEmpty, let bytes = store.takeOutput() { unsent = bytes[...] }
        if !unsent.isEmpty {
            let count = try responses.put(unsent)
            unsent = unsent.dropFirst(count)
            return count > 0
        }
        if let request = try decoder.next() {
            store.handle(request)
            return true
        }
        let bytes = try requests.take()
        decoder.append(bytes)
        return !bytes.isEmpty
    }
}
