// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import Synchronization

/// Takes a share's requests from its rings and answers them there, with threads of its own (see
/// LeadThreads). While the guest has no room for an answer no more requests are taken, so that no more
/// than one for each thread wait here.
///
/// A flush ends a request that the guest has given up: its tag is free with the flush's answer, which
/// comes behind the request's own, or in its place. The request may still be in another ring when the
/// flush is taken, for rings have no order among them; so a flush waits until everything was taken
/// that was in the rings when it came, and if its request is among that, it is dropped.
final class NinePQueue: DeviceQueue, Sendable {
    enum Problem: Error, Equatable, CustomStringConvertible {
        case tagInUse(UInt16)
        case tooManyFlushes

        var description: String {
            switch self {
            case .tagInUse(let tag): "a request has the tag \(tag), which another has that is not done"
            case .tooManyFlushes: "more than \(NinePQueue.flushLimit) requests are given up at a time"
            }
        }
    }

    private static let flushLimit = 1024

    /// A request, and where its answer goes.
    private struct Request {
        let message: NinePMessage
        let ring: Int
    }

    /// A flush that waits for rings to be emptied as far as they were filled when it came.
    private struct Flush {
        let request: Request
        let tag: UInt16
        let until: [UInt32]
    }

    private struct State {
        var rings: [NinePRing]
        /// The ring that is looked at first.
        var turn = 0
        /// Requests that are being served, by their tags, each with the flushes that wait for it.
        var served: [UInt16: [Request]] = [:]
        var flushes: [Flush] = []
        /// Rings whose guest must be told.
        var told: Set<Int> = []
    }

    let threads: QueueThreads
    private let server: NinePServer
    private let channels: [EventChannel]
    private let state: Mutex<State>

    /// Each ring has its own channel.
    init(
        _ server: NinePServer, _ rings: [NinePRing], _ channels: [EventChannel], name: String,
        changed: Descriptor
    ) throws {
        (self.server, self.channels) = (server, channels)
        state = Mutex(State(rings: rings))
        threads = try QueueThreads(changed: changed)
        try threads.start(name: name, role: .share) { try self.lead() }
    }

    /// Serves what needs no waiting until there is something that may wait; nil at the end.
    private func lead() throws -> LeadThreads.Work? {
        while let request = try nextRequest() {
            guard let answer = server.serve(request.message, mayWait: false) else {
                return { try self.serveWaiting(request) }
            }
            try give(answer, to: request)
        }
        return nil
    }

    private func serveWaiting(_ request: Request) throws {
        // Never nil: it may wait.
        if let answer = server.serve(request.message, mayWait: true) { try give(answer, to: request) }
    }

    // MARK: Taking requests

    /// The next request, as soon as there is one; nil at the end.
    private func nextRequest() throws -> Request? {
        while !threads.isStopping {
            switch try changing({ try Self.next(&$0) }) {
            case .request(let request): return request
            case .perhaps: continue
            case .none: break
            }
            Descriptor.wait(readable: channels.map(\.event) + [threads.stopping])
            for channel in channels { channel.event.takeEvent() }
        }
        return nil
    }

    private enum Next: Sendable {
        case request(Request)
        case none
        /// Not all was looked at: a guest that flushes without end must not keep the lock.
        case perhaps
    }

    /// Messages that are looked at under the lock at a time.
    private static let batch = 64

    private static func next(_ state: inout State) throws -> Next {
        for index in state.rings.indices where try state.rings[index].deliver() { state.told.insert(index) }
        var messages = 0
        while state.rings.allSatisfy(\.isDelivered), let request = try take(&state) {
            if let tag = NinePRequest.flushed(by: request.message) {
                try begin(flush: request, of: tag, &state)
            } else if !(try drop(request, &state)) {
                guard state.served.updateValue([], forKey: request.message.tag) == nil else {
                    throw Problem.tagInUse(request.message.tag)
                }
                return .request(request)
            }
            try finishFlushes(&state)
            messages += 1
            if messages == batch { return .perhaps }
        }
        return .none
    }

    /// The next message of any ring; all have their turns.
    private static func take(_ state: inout State) throws -> Request? {
        for _ in state.rings.indices {
            let index = state.turn
            state.turn = (state.turn + 1) % state.rings.count
            guard let (message, wasCrowded) = try state.rings[index].take() else { continue }
            if wasCrowded { state.told.insert(index) }
            return Request(message: message, ring: index)
        }
        return nil
    }

    // MARK: Flushes

    private static func begin(flush request: Request, of tag: UInt16, _ state: inout State) throws {
        if state.served[tag] != nil {
            guard state.served[tag]!.count < flushLimit else { throw Problem.tooManyFlushes }
            state.served[tag]!.append(request)
        } else {
            guard state.flushes.count < flushLimit else { throw Problem.tooManyFlushes }
            let until = try state.rings.map { try $0.requestsPut() }
            state.flushes.append(Flush(request: request, tag: tag, until: until))
        }
    }

    /// Says whether the request was given up before it was taken.
    private static func drop(_ request: Request, _ state: inout State) throws -> Bool {
        // It was there when the flush came, for until then the flush waits.
        guard let index = state.flushes.firstIndex(where: { $0.tag == request.message.tag }) else {
            return false
        }
        let flush = state.flushes.remove(at: index)
        try answer(flush: flush.request, &state)
        return true
    }

    /// Answers flushes whose requests were not found.
    private static func finishFlushes(_ state: inout State) throws {
        while let index = state.flushes.firstIndex(where: { flush in
            zip(state.rings, flush.until).allSatisfy { $0.hasTaken($1) }
        }) {
            try answer(flush: state.flushes.remove(at: index).request, &state)
        }
    }

    private static func answer(flush: Request, _ state: inout State) throws {
        try put(NinePAnswer(to: flush.message).finished(), ring: flush.ring, &state)
    }

    // MARK: Answers

    private func give(_ answer: [UInt8], to request: Request) throws {
        try changing { state in
            try Self.put(answer, ring: request.ring, &state)
            for flush in state.served.removeValue(forKey: request.message.tag) ?? [] {
                try Self.answer(flush: flush, &state)
            }
        }
    }

    private static func put(_ answer: [UInt8], ring: Int, _ state: inout State) throws {
        if try state.rings[ring].answer(answer) { state.told.insert(ring) }
    }

    /// Changes the state, then tells the guest what is new.
    private func changing<Result: Sendable>(
        _ body: (inout sending State) throws -> sending Result
    ) throws -> Result {
        let (result, told) = try state.withLock { state in
            let result = try body(&state)
            defer { state.told.removeAll() }
            return (result, state.told)
        }
        for ring in told { try channels[ring].notifyGuest() }
        return result
    }
}
