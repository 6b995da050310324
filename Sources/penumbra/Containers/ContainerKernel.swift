// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraContainers
import PenumbraMachine
import PenumbraKernels
import PenumbraSystem
import PenumbraVMM

/// The kernel that a container's guest runs.
enum ContainerKernel {
    /// In a source tree the build's own; else this host's, which its package has left in /boot.
    private static let builtKind = "6.1"

    /// The bundle of the kernel that `--kernel` names, which may be a bundle's own name; made if it is
    /// not there.
    static func bundle(_ kernel: String?, installation: Installation = Installation()) throws -> KernelBundle
    {
        let kernels = try DataDirectory().kernels
        if let kernel, !kernel.contains("/"), let bundle = KernelBundle(existing: "\(kernels)/\(kernel)") {
            return bundle
        }
        let name = try kernel ?? defaultName(installation)
        try Files.makeDirectories(kernels, mode: 0o700)
        return try KernelBundle(
            GuestKernel(name, installation: installation), in: kernels, installation: installation)
    }

    private static func defaultName(_ installation: Installation) throws -> String {
        if installation.find(".build-cache/kernels/\(builtKind)", "kernels/\(builtKind)") != nil {
            return builtKind
        }
        let release = String((Files.text("/proc/sys/kernel/osrelease") ?? "").prefix { !$0.isNewline })
        guard Files.exists("/boot/vmlinuz-\(release)") else {
            throw ContainerError.badOption(
                "--kernel", reason: "this host's own kernel is not in /boot: give the path of one")
        }
        return release
    }
}
