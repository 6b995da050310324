// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Numbers of the Xen PV interface (Xen's public headers, 4.17; restated). Layouts that the VMM
// shares are in interface/penumbra/xen.h.

/// Hypercalls (public/xen.h, __HYPERVISOR_*).
enum Hypercall {
    static var setTrapTable: UInt64 { 0 }
    static var mmuUpdate: UInt64 { 1 }
    static var setGDT: UInt64 { 2 }
    static var stackSwitch: UInt64 { 3 }
    static var fpuTaskSwitch: UInt64 { 5 }
    static var setDebugRegister: UInt64 { 8 }
    static var getDebugRegister: UInt64 { 9 }
    static var updateDescriptor: UInt64 { 10 }
    static var memoryOperation: UInt64 { 12 }
    static var multicall: UInt64 { 13 }
    static var updateAddress: UInt64 { 14 }
    static var setTimer: UInt64 { 15 }
    static var version: UInt64 { 17 }
    static var console: UInt64 { 18 }
    static var grantTable: UInt64 { 20 }
    static var assist: UInt64 { 21 }
    static var iret: UInt64 { 23 }
    static var vcpu: UInt64 { 24 }
    static var setSegmentBase: UInt64 { 25 }
    static var mmuExtended: UInt64 { 26 }
    static var scheduler: UInt64 { 29 }
    static var callback: UInt64 { 30 }
    static var eventChannel: UInt64 { 32 }
    static var physicalDevice: UInt64 { 33 }
}

/// Negative errno values (public/errno.h).
enum XenError {
    static var notPermitted: UInt64 { UInt64(bitPattern: -1) }
    static var noEntry: UInt64 { UInt64(bitPattern: -2) }
    static var tooLong: UInt64 { UInt64(bitPattern: -7) }
    static var fault: UInt64 { UInt64(bitPattern: -14) }
    static var busy: UInt64 { UInt64(bitPattern: -16) }
    static var exists: UInt64 { UInt64(bitPattern: -17) }
    static var invalid: UInt64 { UInt64(bitPattern: -22) }
    static var noSpace: UInt64 { UInt64(bitPattern: -28) }
    static var unknown: UInt64 { UInt64(bitPattern: -38) }
    static var notSupported: UInt64 { UInt64(bitPattern: -95) }
}

/// Arguments of one hypercall; the operation may advance them, so that it can be continued.
struct CallArguments {
    var first: UInt64 = 0
    var second: UInt64 = 0
    var third: UInt64 = 0
    var fourth: UInt64 = 0
    var fifth: UInt64 = 0
}

/// How an operation ended.
enum Answer {
    /// Done; RAX.
    case value(UInt64)
    /// Memory needs something; the arguments say what is left to do.
    case needs(MemoryStatus)
    /// Its slice of time is up; the arguments say what is left to do.
    case slice
    /// Done with this RAX, and the module has something to do before the guest runs on.
    case leave(value: UInt64, reason: Int32, argument: UInt64)

    /// That of a memory operation: a refusal is EINVAL, a fault EFAULT.
    @inline(__always)
    init(_ status: MemoryStatus) {
        if case .done = status { self = .value(0) } else { self = Self.failure(status) }
    }

    @inline(never)
    private static func failure(_ status: MemoryStatus) -> Answer {
        switch status {
        case .refused: .value(XenError.invalid)
        case .guestFault, .notCanonical: .value(XenError.fault)
        default: .needs(status)
        }
    }
}

/// A domain's name for itself (public/xen.h, DOMID_SELF).
var domainSelf: UInt64 { 0x7ff0 }
