// SPDX-License-Identifier: Apache-2.0
import CInit
import Glibc
import PenumbraProtocol
import PenumbraSystem

/// Sets interfaces up through rtnetlink(7).
enum Network {
    static func bringUpLoopback() throws(AgentFailure) {
        try Netlink().request(.bringUp(interface: try index(of: "lo"), mtu: nil), "bringing up", "lo")
    }

    static func configure(_ spec: NetworkSpec) throws(AgentFailure) {
        let interface = try FileSystem.waiting(for: spec.interface) { () throws(SystemError) in
            let index = init_interface_index(spec.interface)
            guard index > 0 else { throw SystemError(call: "finding", subject: spec.interface, code: ENODEV) }
            return index
        }
        let netlink = try Netlink()
        for address in spec.addresses {
            try netlink.request(
                .address(address, interface: interface), "giving an address to", spec.interface)
        }
        try netlink.request(.bringUp(interface: interface, mtu: spec.mtu), "bringing up", spec.interface)
        for gateway in spec.gateways {
            try netlink.request(
                .defaultRoute(by: gateway, interface: interface), "routing over", spec.interface)
        }
    }

    private static func index(of interface: String) throws(AgentFailure) -> UInt32 {
        let index = init_interface_index(interface)
        guard index > 0 else {
            throw AgentFailure(.setup, "the guest's kernel has no interface \(interface)")
        }
        return index
    }
}

/// A request of rtnetlink(7): its header's type and flags, its own structure, its attributes.
struct NetlinkRequest: Equatable {
    private enum Kind: UInt16 {
        case newLink = 16
        case newAddress = 20
        case newRoute = 24
    }

    /// linux/netlink.h: request, acknowledge; create and replace.
    private static let flags: UInt16 = 0x1 | 0x4
    private static let create: UInt16 = 0x400 | 0x100

    private let kind: Kind
    private let flags: UInt16
    private var payload: [UInt8] = []

    private init(_ kind: Kind, _ flags: UInt16) { (self.kind, self.flags) = (kind, flags) }

    /// With its header (struct nlmsghdr), numbers in the order of this architecture.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        Self.append(UInt32(16 + payload.count), to: &bytes)
        Self.append(kind.rawValue, to: &bytes)
        Self.append(flags, to: &bytes)
        Self.append(UInt32(1), to: &bytes)  // sequence
        Self.append(UInt32(0), to: &bytes)  // to the kernel
        return bytes + payload
    }

    private static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
        for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }

    /// struct rtattr: length and type, then the value, padded.
    private mutating func attribute(_ type: UInt16, _ value: [UInt8]) {
        Self.append(UInt16(4 + value.count), to: &payload)
        Self.append(type, to: &payload)
        payload += value
        while payload.count % 4 != 0 { payload.append(0) }
    }

    private mutating func attribute(_ type: UInt16, _ value: UInt32) {
        var bytes: [UInt8] = []
        Self.append(value, to: &bytes)
        attribute(type, bytes)
    }

    private static func family(_ address: [UInt8]) -> UInt8 {
        UInt8(address.count == 4 ? AF_INET : AF_INET6)
    }

    /// struct ifinfomsg with IFF_UP; IFLA_MTU is 4.
    static func bringUp(interface: UInt32, mtu: UInt32?) -> NetlinkRequest {
        var request = NetlinkRequest(.newLink, flags)
        request.payload += [0, 0, 0, 0]
        append(interface, to: &request.payload)
        append(UInt32(1), to: &request.payload)
        append(UInt32(1), to: &request.payload)
        if let mtu { request.attribute(4, mtu) }
        return request
    }

    /// struct ifaddrmsg; IFA_ADDRESS is 1, IFA_LOCAL 2.
    static func address(_ address: NetworkSpec.Address, interface: UInt32) -> NetlinkRequest {
        var request = NetlinkRequest(.newAddress, flags | create)
        // No duplicate of this address is looked for (IFA_F_NODAD): nobody else is on this wire.
        request.payload += [family(address.bytes), address.prefixLength, 0x02, 0]
        append(interface, to: &request.payload)
        request.attribute(2, address.bytes)
        request.attribute(1, address.bytes)
        return request
    }

    /// struct rtmsg: the main table, a universal unicast route that was set up at boot; RTA_GATEWAY is
    /// 5, RTA_OIF 4.
    static func defaultRoute(by gateway: [UInt8], interface: UInt32) -> NetlinkRequest {
        var request = NetlinkRequest(.newRoute, flags | create)
        request.payload += [family(gateway), 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]
        request.attribute(5, gateway)
        request.attribute(4, interface)
        return request
    }
}

/// A socket to the kernel's network.
private struct Netlink {
    private let socket: Descriptor

    init() throws(AgentFailure) {
        do throws(SystemError) {
            socket = Descriptor(adopting: Int32(try retrying("netlink", "socket") { Int(init_netlink()) }))
        } catch { throw AgentFailure(error) }
    }

    /// Sends a request and reads what became of it: a struct nlmsghdr of 16 bytes, then a negative
    /// error number or 0.
    func request(_ request: NetlinkRequest, _ what: String, _ interface: String) throws(AgentFailure) {
        do throws(SystemError) {
            try socket.write(request.bytes)
            let answer = try socket.read(atMost: 4096) ?? []
            guard answer.count >= 20 else {
                throw SystemError(call: what, subject: interface, code: EPROTO)
            }
            let code = answer[16..<20].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            guard code == 0 else {
                throw SystemError(call: what, subject: interface, code: -Int32(bitPattern: code))
            }
        } catch { throw AgentFailure(error) }
    }
}
