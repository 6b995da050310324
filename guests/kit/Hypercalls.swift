// SPDX-License-Identifier: Apache-2.0
// The test personality's hypercalls (penumbra/test_abi.h), by their names.
import CKit

/// What a hypercall answers when it does not do what it was asked; Linux's numbers.
enum Errno {
    static let noEntry: Int64 = -2
    static let fault: Int64 = -14
    static let invalid: Int64 = -22
    static let notImplemented: Int64 = -38
}

@discardableResult
func hypercall(
    _ number: Int32, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0
) -> Int64 {
    kit_hypercall(UInt64(number), a, b, c)
}

/// Which translations a flush, or an update, drops.
enum Flush: UInt64 {
    case none = 0
    case local = 1
    case page = 2
    case allVCPUs = 3
    case pageAllVCPUs = 4
}

func flush(_ what: Flush, _ address: UInt64 = 0) {
    equal(hypercall(PTEST_FLUSH, what.rawValue, address), 0, "flush")
}

/// One entry written by PTEST_UPDATE; `entry` is its guest-physical address.
@discardableResult
func update(_ entry: UInt64, _ value: UInt64) -> Int64 {
    var pair = (entry, value)
    return withUnsafeMutablePointer(to: &pair) {
        hypercall(PTEST_UPDATE, UInt64(UInt(bitPattern: $0)), 1, 0)
    }
}

@discardableResult
func updateVA(_ address: UInt64, _ value: UInt64, _ what: Flush = .none) -> Int64 {
    hypercall(PTEST_UPDATE_VA, address, value, what.rawValue)
}

@discardableResult
func setRoots(kernel: UInt64, user: UInt64) -> Int64 {
    hypercall(PTEST_SET_ROOTS, kernel, user)
}

func counter(_ index: penumbra_counter) -> UInt64 {
    let value = hypercall(PTEST_COUNTER, UInt64(index.rawValue))
    check(value >= 0, "counter is readable")
    return UInt64(value)
}
