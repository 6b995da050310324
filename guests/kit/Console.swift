// SPDX-License-Identifier: Apache-2.0
// Text out, and the checks that decide whether a guest passes.
import CKit

/// Adds text to this vCPU's line.
func put(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount {
        put(byte: text.utf8Start[index])
    }
}

func put(byte: UInt8) {
    let cpu = kit_cpu_at(kit_cpu_id())!
    if cpu.pointee.text_length == 255 {
        endLine()
    }
    kit_store8(textAddress(cpu) + cpu.pointee.text_length, byte)
    cpu.pointee.text_length += 1
}

func put(hex value: UInt64) {
    put("0x")
    var shift = 60
    while shift > 0 && value >> UInt64(shift) == 0 {
        shift -= 4
    }
    while shift >= 0 {
        let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15
        put(byte: digit < 10 ? 48 + digit : 87 + digit)
        shift -= 4
    }
}

func put(decimal value: UInt64) {
    var divisor: UInt64 = 1
    while value / divisor >= 10 {
        divisor *= 10
    }
    while divisor > 0 {
        put(byte: 48 + UInt8(truncatingIfNeeded: value / divisor % 10))
        divisor /= 10
    }
}

/// Sends this vCPU's line to the console.
func endLine() {
    put(last: 10)
    let cpu = kit_cpu_at(kit_cpu_id())!
    var sent: UInt64 = 0
    while sent < cpu.pointee.text_length {
        let taken = kit_hypercall(
            UInt64(PTEST_CONSOLE_WRITE), textAddress(cpu) + sent, cpu.pointee.text_length - sent, 0)
        if taken <= 0 {
            break
        }
        sent += UInt64(taken)
    }
    cpu.pointee.text_length = 0
}

func printLine(_ text: StaticString) {
    put(text)
    endLine()
}

private func put(last byte: UInt8) {
    let cpu = kit_cpu_at(kit_cpu_id())!
    kit_store8(textAddress(cpu) + cpu.pointee.text_length, byte)
    cpu.pointee.text_length += 1
}

private func textAddress(_ cpu: UnsafeMutablePointer<kit_cpu>) -> UInt64 {
    UInt64(UInt(bitPattern: cpu)) + UInt64(KIT_CPU_TEXT)
}

/// Ends the VM; the VMM exits with `status`.
func exitGuest(_ status: UInt64) -> Never {
    _ = kit_hypercall(UInt64(PTEST_EXIT), status, 0, 0)
    while true {}
}

/// Says what went wrong and ends the VM with status 1.
func fail(_ message: StaticString) -> Never {
    printLine(message)
    exitGuest(1)
}

func check(_ condition: Bool, _ message: StaticString) {
    if !condition {
        put("FAIL: ")
        fail(message)
    }
}

/// `actual` must be `expected`; if not, both are shown.
func equal(_ actual: UInt64, _ expected: UInt64, _ message: StaticString) {
    if actual != expected {
        put("FAIL: ")
        put(message)
        put(": is ")
        put(hex: actual)
        put(", should be ")
        put(hex: expected)
        fail("")
    }
}

func equal(_ actual: Int64, _ expected: Int64, _ message: StaticString) {
    equal(UInt64(bitPattern: actual), UInt64(bitPattern: expected), message)
}
