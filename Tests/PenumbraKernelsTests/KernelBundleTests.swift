// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraKernels
import PenumbraMachine
import PenumbraSystem
import Testing

@testable import PenumbraVMM

/// Bundles of the kernels that the build has fetched, or of a made-up one.
@Suite struct KernelBundleTests {
    private let temporary: TemporaryDirectory
    private var directory: String { temporary.path }

    init() throws { temporary = try TemporaryDirectory() }

    private func write(_ text: String, _ path: String) throws {
        let path = "\(directory)/\(path)"
        try Files.makeDirectories(String(path[..<path.lastIndex(of: "/")!]))
        try Files.write(Array(text.utf8), to: path)
    }

    /// An ELF file of one segment of a byte.
    private static let program: [UInt8] = {
        var file = Array(elf.utf8) + [UInt8](repeating: 0, count: 57 + 56) + [7]
        // Executable, x86-64, version; its program headers: where, how long, how many.
        for (offset, value) in [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1)] {
            file[offset] = UInt8(value)
        }
        // To be loaded, all rights; where in the file, how much there and in memory, how aligned.
        for (offset, value) in [(0, 1), (4, 7), (8, 120), (32, 1), (40, 1), (48, 1)] {
            file[64 + offset] = UInt8(value)
        }
        return file
    }()
    /// As the first bytes of an ELF file are (ELF-64, little-endian).
    private static let elf = "\u{7f}ELF\u{2}\u{1}\u{1}"

    /// A kernel whose ext4 needs jbd2, and built-in parts; and an installation with an agent.
    private func makeTree(ext4: String = "\0depends=jbd2\0name=ext4\0") throws -> Installation {
        try Files.makeDirectories("\(directory)/boot")
        try Files.write(Self.program, to: "\(directory)/boot/vmlinuz-1.2.3")
        try write("kernel/fs/ext4/ext4.ko\nkernel/fs/jbd2/jbd2.ko\n", "lib/modules/1.2.3/modules.order")
        try write("kernel/crypto/crc32c_generic.ko\n", "lib/modules/1.2.3/modules.builtin")
        try write(Self.elf + ext4, "lib/modules/1.2.3/kernel/fs/ext4/ext4.ko")
        try write(Self.elf + "\0depends=\0", "lib/modules/1.2.3/kernel/fs/jbd2/jbd2.ko")
        try write("", "share/penumbra/machine/init")
        try write("agent", "share/penumbra/penumbra-init")
        return Installation(program: "\(directory)/bin/penumbra", workingDirectory: nil)
    }

    @Test func aBundleHasTheKernelTheAgentAndTheModulesInTheirOrder() throws {
        let installation = try makeTree()
        let bundle = try KernelBundle(
            GuestKernel("\(directory)/boot/vmlinuz-1.2.3", installation: installation),
            in: "\(directory)/kernels", installation: installation)
        #expect(bundle.release == "1.2.3" && bundle.name.hasPrefix("1.2.3-"))
        #expect(try Files.read(bundle.kernel) == Self.program)
        let text = String(decoding: try Files.read(bundle.initramfs), as: UTF8.self)
        #expect(text.contains("jbd2\next4 jbd2\n"))
        for name in ["init\0", "modules/ext4.ko\0", "modules/jbd2.ko\0", "agent"] {
            #expect(text.contains(name))
        }
        #expect(KernelBundle(existing: bundle.directory) == bundle)
    }

    @Test func aBundleIsMadeOnceForTheSameParts() throws {
        let installation = try makeTree()
        func bundle() throws -> (KernelBundle, UInt64) {
            let bundle = try KernelBundle(
                GuestKernel(directory, installation: installation), in: "\(directory)/kernels",
                installation: installation)
            var information = stat()
            stat(bundle.kernel, &information)
            return (bundle, UInt64(information.st_ino))
        }
        let (first, inode) = try bundle()
        #expect(try bundle() == (first, inode))
        try write("another agent", "share/penumbra/penumbra-init")
        #expect(try bundle().0 != first)
        #expect(Files.list("\(directory)/kernels").count == 2)
    }

    @Test func manyWhoWantTheSameBundleGetTheFirstOnes() async throws {
        let installation = try makeTree()
        let kernel = try GuestKernel(directory, installation: installation)
        let kernels = "\(directory)/kernels"
        try await withThrowingTaskGroup(of: KernelBundle.self) { group in
            for _ in 0..<16 {
                group.addTask { try KernelBundle(kernel, in: kernels, installation: installation) }
            }
            for try await bundle in group { #expect(try Files.read(bundle.kernel) == Self.program) }
        }
        #expect(Files.list(kernels).count == 1)
    }

    @Test func whatIsMissingIsNamed() throws {
        let installation = try makeTree(ext4: "\0depends=jbd2,nosuch\0")
        #expect(throws: KernelBundleError.missingModule("nosuch", neededBy: "ext4")) {
            try KernelBundle(
                GuestKernel(directory, installation: installation), in: "\(directory)/kernels",
                installation: installation)
        }
        #expect(Files.list("\(directory)/kernels").isEmpty)
        #expect(throws: KernelBundleError.noImage("/boot/vmlinuz-nosuch")) {
            try GuestKernel("nosuch", installation: installation)
        }
        try write("", "x/vmlinuz-9")
        #expect(throws: KernelBundleError.noModules("\(directory)/lib/modules/9")) {
            try GuestKernel("\(directory)/x/vmlinuz-9", installation: installation)
        }
    }

    @Test(arguments: ["6.1", "6.1-cloud", "6.12"]) func theFetchedKernelsMakeBundles(_ kind: String) throws {
        let installation = Installation()
        let kernel = try GuestKernel(kind, installation: installation)
        let bundle = try KernelBundle(kernel, in: directory, installation: installation)
        #expect(ElfImage.isElf(try Files.read(bundle.kernel)))
        let text = String(decoding: try Files.read(bundle.initramfs), as: UTF8.self)
        for module in ["xen_blkfront", "squashfs", "overlay", "xen_netfront"] {
            #expect(text.contains("modules/\(module).ko"))
        }
        #expect(text.contains("modules/9pnet_xen.ko") == (kind != "6.1-cloud"))
    }
}
