// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// How far one half of a Xen device is (Xen's public/io/xenbus.h).
enum XenBusState: Int {
    case unknown, initialising, initWait, initialised, connected, closing, closed
}

/// The host's half of a Xen device: it and the guest's half find each other through xenstore.
protocol XenBackend: AnyObject {
    var nodes: XenDeviceNodes { get }

    /// The guest changed something below its half's node. A guest that wrote nonsense gets a device
    /// that is closed; nothing else comes of it.
    func frontendChanged(in store: inout XenStore)
}

/// Where in xenstore both halves of a device are.
struct XenDeviceNodes {
    let kind: String
    let number: Int
    let frontend: XenStorePath
    let backend: XenStorePath

    init(kind: String, number: Int) {
        (self.kind, self.number) = (kind, number)
        frontend = XenStorePath(trusted: "/local/domain/\(XENPV_DOMAIN)/device/\(kind)/\(number)")
        backend = XenStorePath(trusted: "/local/domain/0/backend/\(kind)/\(XENPV_DOMAIN)/\(number)")
    }

    /// As Xen's toolstack leaves them for a new device: the guest probes a half that is initialising.
    func create(in store: inout XenStore) {
        for (name, value) in [
            ("frontend", frontend.text), ("frontend-id", String(XENPV_DOMAIN)), ("online", "1"),
            ("state", String(XenBusState.initWait.rawValue)),
        ] {
            store.write(value, to: backend / name)
        }
        store.makeGuestDirectory(frontend)
        for (name, value) in [
            ("backend", backend.text), ("backend-id", "0"),
            ("state", String(XenBusState.initialising.rawValue)),
        ] {
            store.write(value, to: frontend / name)
        }
        store.observe(frontend)
    }

    func frontendState(in store: XenStore) -> XenBusState {
        number("state", in: store).flatMap { XenBusState(rawValue: Int($0)) } ?? .unknown
    }

    func setState(_ state: XenBusState, in store: inout XenStore) {
        store.write(String(state.rawValue), to: backend / "state")
    }

    /// A number that the guest left at its half's node.
    func number(_ name: String, in store: XenStore) -> UInt32? {
        store.read(frontend / name).flatMap { UInt32($0) }
    }
}
