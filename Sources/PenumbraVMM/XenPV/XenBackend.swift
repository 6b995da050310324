// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import PenumbraSystem

/// How far one half of a Xen device is (Xen's public/io/xenbus.h).
enum XenBusState: Int {
    case unknown, initialising, initWait, initialised, connected, closing, closed
}

/// The host's half of a Xen device: it and the guest's half find each other through xenstore. Both
/// show their states there and act on the other's:
///
///     guest          host
///                    initWait      it left its keys there before the guest ran
///     initialising                 the guest's driver begins, and reads them
///     initialised                  it left its own: grants and ports
///                    connected     the host uses them
///     connected
///     closing        closing       the guest shuts down, or its driver goes
///     closed         closing       the host ends what it has begun, however long that takes
///                    closed        it has let go of all that is the guest's
///     initialising   initWait      another driver begins
///
/// A guest that leaves nonsense finds the device closed; nothing else comes of it.
protocol XenBackend: AnyObject {
    var nodes: XenDeviceNodes { get }

    /// From a `connect` that did not throw until nothing is left of it.
    var isConnected: Bool { get }

    /// From a `disconnect` that could not be done at once until nothing is left.
    var isLeaving: Bool { get }

    /// Takes up what the guest left at its half's node.
    func connect(_ store: XenStore) throws

    /// Lets go of all that is the guest's; what was begun ends first, which may take the host any time:
    /// this does not wait for it. Says whether nothing is left. Also of a device that is not connected.
    @discardableResult func disconnect() -> Bool

    /// An EventDescriptor, signalled when the device can work no more, and when it has done so; nil: it
    /// never comes to that.
    var changed: Descriptor? { get }

    /// Why it can work no more; nil: it can, or it is being closed.
    var failure: String? { get }
}

/// Of a device without threads of its own.
extension XenBackend {
    var isLeaving: Bool { false }
    var changed: Descriptor? { nil }
    var failure: String? { nil }
}

extension XenBackend {

    /// The guest changed something below its half's node. Says why the device was closed, if it was.
    @discardableResult
    func frontendChanged(in store: inout XenStore) -> String? {
        switch nodes.frontendState(in: store) {
        case .initialising:
            guard nodes.backendState(in: store) != .initWait else { return nil }
            nodes.setState(disconnect() ? .initWait : .closing, in: &store)
        case .initialised, .connected:
            guard nodes.backendState(in: store) == .initWait else { return nil }
            do { try connect(store) } catch { return close("\(error)", in: &store) }
            nodes.setState(.connected, in: &store)
        case .closing:
            // A guest that shuts down waits for this very answer (xenbus_otherend_changed).
            nodes.setState(.closing, in: &store)
        case .closed:
            nodes.setState(disconnect() ? .closed : .closing, in: &store)
        case .unknown, .initWait: break
        }
        return nil
    }

    /// For when `changed` was signalled. Closes a device that can work no more, and says why; what waited
    /// for one to let go goes on.
    func attend(in store: inout XenStore) -> String? {
        if let failure { return close(failure, in: &store) }
        guard isLeaving, disconnect() else { return nil }
        let begins = nodes.frontendState(in: store) == .initialising
        nodes.setState(begins ? .initWait : .closed, in: &store)
        return nil
    }

    private func close(_ reason: String, in store: inout XenStore) -> String {
        nodes.setState(disconnect() ? .closed : .closing, in: &store)
        return "\(nodes.label): \(reason); the device is closed"
    }
}

/// A key that the guest's driver should have left and did not.
struct MissingKey: Error, Equatable, CustomStringConvertible {
    let name: String

    var description: String { "the guest's driver left no number at '\(name)'" }
}

/// Where in xenstore both halves of a device are, and what is there before the guest runs.
struct XenDeviceNodes {
    typealias Keys = [(name: String, value: String)]

    let kind: String
    let number: Int
    /// What users call the device.
    let label: String
    let frontend: XenStorePath
    let backend: XenStorePath
    private let frontendKeys: Keys
    private let backendKeys: Keys

    /// Besides those of all devices, `frontendKeys` and `backendKeys` are at the halves' nodes.
    init(
        kind: String, number: Int, label: String? = nil, frontendKeys: Keys = [], backendKeys: Keys = []
    ) {
        (self.kind, self.number, self.label) = (kind, number, label ?? "\(kind) \(number)")
        (self.frontendKeys, self.backendKeys) = (frontendKeys, backendKeys)
        frontend = XenStorePath(trusted: "/local/domain/\(XENPV_DOMAIN)/device/\(kind)/\(number)")
        backend = XenStorePath(trusted: "/local/domain/0/backend/\(kind)/\(XENPV_DOMAIN)/\(number)")
    }

    /// As Xen's toolstack leaves them for a new device: the guest probes a half that is initialising.
    func create(in store: inout XenStore) {
        let hosts: Keys = [
            ("frontend", frontend.text), ("frontend-id", String(XENPV_DOMAIN)), ("online", "1"),
            ("state", String(XenBusState.initWait.rawValue)),
        ]
        for (name, value) in backendKeys + hosts { store.write(value, to: backend / name) }
        store.makeGuestDirectory(frontend)
        let guests: Keys = [
            ("backend", backend.text), ("backend-id", "0"),
            ("state", String(XenBusState.initialising.rawValue)),
        ]
        for (name, value) in frontendKeys + guests { store.write(value, to: frontend / name) }
        store.observe(frontend)
    }

    func frontendState(in store: XenStore) -> XenBusState { state(of: frontend, in: store) }
    func backendState(in store: XenStore) -> XenBusState { state(of: backend, in: store) }

    private func state(of half: XenStorePath, in store: XenStore) -> XenBusState {
        store.read(half / "state").flatMap { Int($0) }.flatMap { XenBusState(rawValue: $0) } ?? .unknown
    }

    func setState(_ state: XenBusState, in store: inout XenStore) {
        store.write(String(state.rawValue), to: backend / "state")
    }

    /// What the guest left at its half's node.
    func text(_ name: String, in store: XenStore) -> String? { store.read(frontend / name) }

    func number(_ name: String, in store: XenStore) -> UInt32? {
        text(name, in: store).flatMap { UInt32($0) }
    }

    func required(_ name: String, in store: XenStore) throws(MissingKey) -> UInt32 {
        guard let number = number(name, in: store) else { throw MissingKey(name: name) }
        return number
    }
}
