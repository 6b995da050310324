// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraSystem

/// Why a VM could not be built or run; the text is the user's message.
public enum VMMError: Error, Equatable, CustomStringConvertible {
    case noDevice
    case noPermission
    case otherInterface
    case noDebugCore
    case notEnoughMemory(wanted: String)
    case moreThanHost(wanted: UInt64, has: UInt64)
    case initrdTooLarge(bytes: UInt64, memory: UInt64)
    case badElf(ElfImage.Problem)
    case badKernel(KernelImage.Problem)
    case domain(XenDomainLayout.Problem)
    case badName(String)
    case outsideMemory(address: UInt64, count: Int)
    case badMemorySize(String)
    case tooManyCPUs(Int, limit: Int)
    case commandLineTooLong(limit: Int)
    case brokenRequest(length: UInt32)
    case disk(DiskError)
    case share(VolumeShareError)
    case system(SystemError)

    public static let devicePath = "/dev/penumbra"

    public var description: String {
        switch self {
        case .noDevice:
            "\(Self.devicePath) does not exist: load the module with 'modprobe penumbra', "
                + "or use a machine ('penumbra machine start')"
        case .noPermission:
            "\(Self.devicePath) may not be opened by this user: join the group 'penumbra' "
                + "(usermod -aG penumbra USER, then log in again)"
        case .otherInterface:
            "the loaded module speaks another version of the interface than this program "
                + "(\(PENUMBRA_INTERFACE_VERSION)): install both from one release and load the module again"
        case .noDebugCore:
            "the loaded module carries no debug core: load one that was built with DEBUG=1, or leave out --debug"
        case .notEnoughMemory(let wanted):
            "the host has no memory for \(wanted): free some, give the guest less, or raise the cgroup's limit"
        case .moreThanHost(let wanted, let has):
            "the guest is to have \(wanted >> 20) MiB of memory, and this host has \(has >> 20) MiB: give it less"
        case .initrdTooLarge(let bytes, let memory):
            "the initial RAM disk has \(bytes >> 20) MiB, the guest \(memory >> 20) MiB of memory: give it more"
        case .badElf(let problem): "the guest's file cannot be loaded: \(problem)"
        case .badKernel(let problem): "the kernel's file cannot be booted: \(problem)"
        case .domain(let problem): "the guest cannot be built: \(problem)"
        case .badName(let name):
            "'\(name)' is no name for a guest: use 1 to 64 letters, digits, '-', '_' and '.', "
                + "a letter or a digit first"
        case .outsideMemory(let address, let count):
            "\(count) bytes at guest-physical 0x\(String(address, radix: 16)) are outside the guest's memory"
        case .badMemorySize(let text):
            "'\(text)' is no size of memory: use 1M to 64G with K, M or G, in whole pages"
        case .tooManyCPUs(let count, let limit): "\(count) is no number of CPUs: use 1 to \(limit)"
        case .commandLineTooLong(let limit): "the guest's command line is longer than \(limit) bytes"
        case .brokenRequest(let length):
            "the module passed on a request of \(length) bytes, more than one can have"
        case .disk(let error): "\(error)"
        case .share(let error): "\(error)"
        case .system(let error): "\(error)"
        }
    }

    /// What an error number of the module means to the user.
    init(_ error: SystemError, wanted: String) {
        switch error.code {
        case EPROTO: self = .otherInterface
        case EOPNOTSUPP: self = .noDebugCore
        case ENOMEM: self = .notEnoughMemory(wanted: wanted)
        default: self = .system(error)
        }
    }
}
