// SPDX-License-Identifier: Apache-2.0

// How a ContainerSpec and its parts are written into a message and read out of it. Alternatives are a
// byte that tells which, and its fields.

extension ContainerSpec {
    func write(to payload: inout PayloadWriter) {
        payload.text(hostname)
        root.write(to: &payload)
        payload.list(mounts) { $1.write(to: &$0) }
        payload.list(files) { $1.write(to: &$0) }
        payload.optional(network) { $1.write(to: &$0) }
    }

    init(from reader: inout PayloadReader) throws(ProtocolError) {
        self.init(hostname: try reader.text(), root: try RootSpec(from: &reader))
        mounts = try reader.list { (reader) throws(ProtocolError) in try MountSpec(from: &reader) }
        files = try reader.list { (reader) throws(ProtocolError) in try FileSpec(from: &reader) }
        network = try reader.optional { (reader) throws(ProtocolError) in try NetworkSpec(from: &reader) }
    }
}

/// Which alternative follows.
private enum Choice: UInt8 {
    case disk = 1
    case directory, memory, share
}

extension PayloadWriter {
    fileprivate mutating func choice(_ choice: Choice) { number(choice.rawValue) }

    fileprivate mutating func disk(_ device: String, _ type: String) {
        choice(.disk)
        text(device)
        text(type)
    }
}

extension PayloadReader {
    fileprivate mutating func choice() throws(ProtocolError) -> Choice {
        guard let choice = Choice(rawValue: try number()) else { throw damaged }
        return choice
    }
}

extension RootSpec {
    fileprivate func write(to payload: inout PayloadWriter) {
        switch image {
        case .disk(let device, let type): payload.disk(device, type)
        case .directory(let path):
            payload.choice(.directory)
            payload.text(path)
        }
        switch changes {
        case .disk(let device, let type): payload.disk(device, type)
        case .memory(let limit):
            payload.choice(.memory)
            payload.number(limit)
        }
        payload.flag(isReadOnly)
    }

    fileprivate init(from reader: inout PayloadReader) throws(ProtocolError) {
        switch try reader.choice() {
        case .disk: image = .disk(device: try reader.text(), type: try reader.text())
        case .directory: image = .directory(try reader.text())
        case .memory, .share: throw reader.damaged
        }
        switch try reader.choice() {
        case .disk: changes = .disk(device: try reader.text(), type: try reader.text())
        case .memory: changes = .memory(limit: try reader.number())
        case .directory, .share: throw reader.damaged
        }
        isReadOnly = try reader.flag()
    }
}

extension MountSpec {
    fileprivate func write(to payload: inout PayloadWriter) {
        switch source {
        case .memory(let limit, let permissions):
            payload.choice(.memory)
            payload.number(limit)
            payload.number(permissions)
        case .disk(let device, let type): payload.disk(device, type)
        case .share(let tag):
            payload.choice(.share)
            payload.text(tag)
        }
        payload.text(target)
        payload.flag(isReadOnly)
    }

    fileprivate init(from reader: inout PayloadReader) throws(ProtocolError) {
        switch try reader.choice() {
        case .memory: source = .memory(limit: try reader.number(), permissions: try reader.number())
        case .disk: source = .disk(device: try reader.text(), type: try reader.text())
        case .share: source = .share(tag: try reader.text())
        case .directory: throw reader.damaged
        }
        target = try reader.text()
        isReadOnly = try reader.flag()
    }
}

extension FileSpec {
    fileprivate func write(to payload: inout PayloadWriter) {
        payload.text(path)
        payload.string(content)
        payload.number(permissions)
    }

    fileprivate init(from reader: inout PayloadReader) throws(ProtocolError) {
        self.init(path: try reader.text(), content: try reader.string(), permissions: try reader.number())
    }
}

extension NetworkSpec {
    fileprivate func write(to payload: inout PayloadWriter) {
        payload.text(interface)
        payload.list(addresses) { (payload, address) in
            payload.string(address.bytes)
            payload.number(address.prefixLength)
        }
        payload.strings(gateways)
        payload.optional(mtu) { $0.number($1) }
    }

    fileprivate init(from reader: inout PayloadReader) throws(ProtocolError) {
        let interface = try reader.text()
        let addresses = try reader.list { (reader) throws(ProtocolError) in
            let address = Address(try reader.string(), prefixLength: try reader.number())
            guard address.isValid else { throw reader.damaged }
            return address
        }
        let gateways = try reader.strings()
        guard gateways.allSatisfy({ $0.count == 4 || $0.count == 16 }) else { throw reader.damaged }
        self.init(addresses: addresses, gateways: gateways)
        self.interface = interface
        mtu = try reader.optional { (reader) throws(ProtocolError) in try reader.number() }
    }
}

extension NetworkSpec.Address {
    fileprivate var isValid: Bool {
        (bytes.count == 4 || bytes.count == 16) && Int(prefixLength) <= bytes.count * 8
    }
}
