// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraMachine

@Suite struct MachineSettingsTests {
    /// A source tree with one unpacked kernel.
    private func tree() throws -> (TemporaryDirectory, Installation) {
        let directory = try TemporaryDirectory()
        let kernel = ".build-cache/kernels/6.1"
        for file in [
            "machine/init", "bin/penumbra", "\(kernel)/vmlinux", "\(kernel)/boot/vmlinuz-6.1.0-9-amd64",
            "\(kernel)/lib/modules/6.1.0-9-amd64/kernel/drivers/char/virtio_console.ko",
            "\(kernel)/lib/modules/6.1.0-9-amd64/kernel/drivers/virtio/virtio_ring.ko",
        ] { try directory.write("x", to: file) }
        return (directory, Installation(program: directory.path + "/bin/penumbra", workingDirectory: nil))
    }

    @Test func aKindOfKernelIsFoundInTheTree() throws {
        let (directory, installation) = try tree()
        let kernel = try KernelFiles("6.1", boot: .vmlinux, installation: installation)
        #expect(kernel.release == "6.1.0-9-amd64")
        #expect(kernel.image == directory.path + "/.build-cache/kernels/6.1/vmlinux")
        #expect(
            kernel.agentModules.map { $0.split(separator: "/").last } == [
                "virtio_ring.ko", "virtio_console.ko",
            ])
        let image = try KernelFiles("6.1", boot: .bzimage, installation: installation).image
        #expect(image.hasSuffix("/boot/vmlinuz-6.1.0-9-amd64"))
    }

    @Test func aMissingKernelSaysWhatToDo() throws {
        let (_, installation) = try tree()
        let error = try #require(throws: MachineError.self) {
            try KernelFiles("9.9-no-such", boot: .vmlinux, installation: installation)
        }
        #expect("\(error)".contains("make setup"))
    }

    @Test func theUsersArgumentsComeLast() throws {
        let (directory, installation) = try tree()
        var settings = MachineSettings()
        settings.commandLine = "pti=on"
        settings.qemuArguments = ["-icount", "shift=0,sleep=off"]
        let state = try StateDirectory(name: "m", root: directory.path)
        let kernel = try KernelFiles("6.1", boot: .vmlinux, installation: installation)
        let arguments = settings.qemuCommandLine(kernel: kernel, state: state)
        #expect(arguments.suffix(2) == ["-icount", "shift=0,sleep=off"])
        let append = try #require(arguments.firstIndex(of: "-append"))
        #expect(arguments[append + 1].hasSuffix(" pti=on"))
        #expect(arguments.contains("-no-reboot"))
    }

    @Test func theBuiltModuleIsTakenIfThereIsOne() throws {
        let (directory, installation) = try tree()
        let kernel = try KernelFiles("6.1", boot: .vmlinux, installation: installation)
        var settings = MachineSettings()
        #expect(try settings.moduleFile(for: kernel, installation: installation) == nil)
        let built = "build/module/release/6.1/penumbra.ko"
        try directory.write("x", to: built)
        #expect(
            try settings.moduleFile(for: kernel, installation: installation) == "\(directory.path)/\(built)")
        settings.module = MachineSettings.Module("debug")
        #expect(settings.module == .built(.debug))
        #expect(try settings.moduleFile(for: kernel, installation: installation) == nil)
        settings.module = MachineSettings.Module("none")
        #expect(try settings.moduleFile(for: kernel, installation: installation) == nil)
        settings.module = MachineSettings.Module("/nonexistent.ko")
        #expect(throws: MachineError.self) {
            try settings.moduleFile(for: kernel, installation: installation)
        }
    }
}
