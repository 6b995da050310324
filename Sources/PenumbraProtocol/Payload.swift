// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Puts a message's fields behind each other: numbers little-endian, anything of variable length with
/// its length before it, as 32 bits.
public struct PayloadWriter {
    public var bytes: [UInt8] = []

    public init() {}

    public mutating func number<Number: FixedWidthInteger>(_ value: Number) {
        bytes.append(littleEndian: value)
    }

    public mutating func flag(_ value: Bool) { bytes.append(value ? 1 : 0) }

    public mutating func text(_ value: String) { string(Array(value.utf8)) }

    /// Bytes that need not be UTF-8.
    public mutating func string(_ value: [UInt8]) {
        number(UInt32(value.count))
        bytes += value
    }

    public mutating func list<Element>(
        _ values: [Element], _ write: (inout PayloadWriter, Element) -> Void
    ) {
        number(UInt32(values.count))
        for value in values { write(&self, value) }
    }

    public mutating func texts(_ values: [String]) { list(values) { $0.text($1) } }

    public mutating func strings(_ values: [[UInt8]]) { list(values) { $0.string($1) } }

    public mutating func size(_ size: TerminalSize) {
        number(size.rows)
        number(size.columns)
    }

    /// A flag, and what it announces.
    public mutating func optional<Value>(
        _ value: Value?, _ write: (inout PayloadWriter, Value) -> Void
    ) {
        flag(value != nil)
        if let value { write(&self, value) }
    }
}

/// Takes a message's fields out of a frame; whatever does not fit is `.damaged`.
public struct PayloadReader {
    private let type: UInt8
    private var bytes: ArraySlice<UInt8>

    public init(_ frame: Frame) {
        type = frame.type
        bytes = frame.payload[...]
    }

    /// What a reader throws when a field's value makes no sense.
    public var damaged: ProtocolError { .damaged(type: type) }

    public mutating func number<Number: FixedWidthInteger>() throws(ProtocolError) -> Number {
        let size = Number.bitWidth / 8
        let field = try take(size)
        return field.reversed().reduce(Number(0)) { $0 << 8 | Number($1) }
    }

    public mutating func flag() throws(ProtocolError) -> Bool {
        let value: UInt8 = try number()
        guard value <= 1 else { throw damaged }
        return value == 1
    }

    public mutating func text() throws(ProtocolError) -> String {
        let count: UInt32 = try number()
        guard let text = String(validating: try take(Int(count)), as: UTF8.self) else { throw damaged }
        return text
    }

    public mutating func string() throws(ProtocolError) -> [UInt8] {
        let count: UInt32 = try number()
        return Array(try take(Int(count)))
    }

    /// An element takes at least a byte: a false count ends with the payload.
    public mutating func list<Element>(
        _ read: (inout PayloadReader) throws(ProtocolError) -> Element
    ) throws(ProtocolError) -> [Element] {
        let count: UInt32 = try number()
        var values: [Element] = []
        for _ in 0..<count {
            guard !bytes.isEmpty else { throw damaged }
            values.append(try read(&self))
        }
        return values
    }

    public mutating func texts() throws(ProtocolError) -> [String] {
        try list { (reader) throws(ProtocolError) in try reader.text() }
    }

    public mutating func strings() throws(ProtocolError) -> [[UInt8]] {
        try list { (reader) throws(ProtocolError) in try reader.string() }
    }

    public mutating func size() throws(ProtocolError) -> TerminalSize {
        TerminalSize(rows: try number(), columns: try number())
    }

    public mutating func optional<Value>(
        _ read: (inout PayloadReader) throws(ProtocolError) -> Value
    ) throws(ProtocolError) -> Value? {
        try flag() ? try read(&self) : nil
    }

    public mutating func rest() -> [UInt8] {
        defer { bytes = [] }
        return Array(bytes)
    }

    public func finish() throws(ProtocolError) {
        guard bytes.isEmpty else { throw damaged }
    }

    private mutating func take(_ count: Int) throws(ProtocolError) -> ArraySlice<UInt8> {
        guard bytes.count >= count else { throw damaged }
        defer { bytes = bytes.dropFirst(count) }
        return bytes.prefix(count)
    }
}

extension [UInt8] {
    mutating func append<Number: FixedWidthInteger>(littleEndian number: Number) {
        for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
            append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }
}

extension ArraySlice<UInt8> {
    /// The first four bytes, which must be there.
    var littleEndianUInt32: UInt32 {
        prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}
