// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// What a guest finds in its xenstore when it starts.
struct XenStoreDomain: Sendable {
    let name: String
    /// A random one, as text.
    let identifier: String
    let memory: MemorySize
    let cpus: Int
    let consoleFrame: UInt64
    let storeFrame: UInt64

    func store() -> XenStore {
        var store = XenStore(domain: UInt32(XENPV_DOMAIN))
        let machine = XenStorePath(trusted: "/vm/\(identifier)")
        let kibibytes = String(memory.bytes >> 10)
        store.write(name, to: machine / "name")
        store.write(identifier, to: machine / "uuid")
        for (path, value) in [
            ("name", name), ("domid", String(XENPV_DOMAIN)), ("vm", machine.text),
            ("memory/target", kibibytes), ("memory/static-max", kibibytes),
            ("console/ring-ref", String(consoleFrame)), ("console/port", String(XENPV_PORT_CONSOLE)),
            ("console/type", "penumbra"), ("store/ring-ref", String(storeFrame)),
            ("store/port", String(XENPV_PORT_XENSTORE)),
        ] {
            store.write(value, to: store.home / path)
        }
        for cpu in 0..<cpus { store.write("online", to: store.home / "cpu/\(cpu)/availability") }
        for directory in ["attr", "control", "data", "drivers", "error", "feature"] {
            store.makeGuestDirectory(store.home / directory)
        }
        // Empty: no request. The guest clears it to say that it saw one.
        store.write("", to: Self.shutdown(in: store))
        return store
    }

    /// Where a guest is asked to power off or to reboot.
    static func shutdown(in store: XenStore) -> XenStorePath { store.home / "control/shutdown" }
}
