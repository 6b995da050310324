// SPDX-License-Identifier: Apache-2.0
import CLinux
import CPenumbra
import Glibc
import PenumbraSystem

/// /dev/penumbra (interface/penumbra/device.h).
public struct Device: Sendable {
    private let file: Descriptor

    public static var isPresent: Bool { Files.exists(VMMError.devicePath) }

    public init() throws(VMMError) {
        do {
            file = try Descriptor(path: VMMError.devicePath, flags: O_RDWR)
        } catch {
            switch error.code {
            case ENOENT, ENXIO, ENODEV: throw .noDevice
            case EACCES, EPERM: throw .noPermission
            default: throw .system(error)
            }
        }
    }

    /// What the module is and holds.
    public func info() throws(VMMError) -> penumbra_info {
        var info = penumbra_info()
        try control(file, PENUMBRA_IOCTL_GET_INFO, &info, "reading the module's state")
        return info
    }

    func createVM(_ arguments: penumbra_create_vm) throws(VMMError) -> VirtualMachine {
        var arguments = arguments
        let number = try control(file, PENUMBRA_IOCTL_CREATE_VM, &arguments, "a VM")
        return VirtualMachine(file: Descriptor(adopting: number))
    }
}

/// One VM; ends with its last reference.
public struct VirtualMachine: Sendable {
    let file: Descriptor

    func addRegion(_ region: penumbra_region) throws(VMMError) {
        var region = region
        try control(file, PENUMBRA_IOCTL_ADD_REGION, &region, "the guest's memory")
    }

    func createCPU(_ arguments: penumbra_create_vcpu) throws(VMMError) -> Descriptor {
        var arguments = arguments
        return Descriptor(
            adopting: try control(file, PENUMBRA_IOCTL_CREATE_VCPU, &arguments, "a virtual CPU"))
    }

    /// `event` is signalled when the guest notifies this port.
    func setNotification(ofPort port: UInt32, to event: Descriptor) throws(VMMError) {
        var arguments = penumbra_eventfd(
            port: port, fd: event.number, flags: UInt32(PENUMBRA_EVENTFD_FROM_GUEST), reserved: 0)
        try control(file, PENUMBRA_IOCTL_SET_EVENTFD, &arguments, "an event channel")
    }

    /// Nobody listens to this port any more.
    func removeNotification(ofPort port: UInt32) throws(VMMError) {
        var arguments = penumbra_eventfd(
            port: port, fd: -1, flags: UInt32(PENUMBRA_EVENTFD_FROM_GUEST | PENUMBRA_EVENTFD_REMOVE),
            reserved: 0)
        try control(file, PENUMBRA_IOCTL_SET_EVENTFD, &arguments, "an event channel")
    }

    /// Raises an event of the guest's.
    func post(port: UInt32) throws(VMMError) {
        try control(file, PENUMBRA_IOCTL_POST, number: UInt(port), "an event")
    }

    /// Counters of all vCPUs together.
    public func counters() throws(VMMError) -> penumbra_counters {
        var counters = penumbra_counters()
        try control(file, PENUMBRA_IOCTL_GET_COUNTERS, &counters, "reading counters")
        return counters
    }

    /// Ends the VM: every vCPU's run returns.
    func kill() throws(VMMError) {
        try control(file, PENUMBRA_IOCTL_KILL, "ending the VM")
    }
}

/// ioctl(2) with a structure that the call reads or fills, of the size that the number says.
@discardableResult
private func control<Argument>(
    _ file: Descriptor, _ request: penumbra_ioctl, _ argument: inout Argument, _ purpose: String
) throws(VMMError) -> Int32 {
    do {
        return Int32(
            try retrying("ioctl", "for \(purpose)") {
                withUnsafeMutablePointer(to: &argument) { pointer in
                    // The number's size field is that of the structure: device.h derives it from the type.
                    Int(linux_ioctl(file.number, UInt(request.rawValue), pointer))
                }
            })
    } catch { throw VMMError(error, wanted: purpose) }
}

/// ioctl(2) with a number, or nothing, for an argument.
func control(
    _ file: Descriptor, _ request: penumbra_ioctl, number: UInt = 0, _ purpose: String
) throws(VMMError) {
    do {
        try retrying("ioctl", "for \(purpose)") {
            // Passed on as it is: the module takes it for a number.
            Int(linux_ioctl(file.number, UInt(request.rawValue), UnsafeMutableRawPointer(bitPattern: number)))
        }
    } catch { throw VMMError(error, wanted: purpose) }
}
