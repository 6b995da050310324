// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

struct BootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "boot",
        abstract:
            "Boot a Linux kernel, as it is, in a VM: on /dev/penumbra if it is there, else in the machine.",
        discussion: """
            Any kernel that can be a Xen PV guest will do, such as those of Debian's linux-image packages. \
            Its console (hvc0) is this terminal; Control-] leaves it and ends the VM.

            Exits with 0 (the guest powered off), 70 (it crashed), 71 (a bug in the core), 72 (it was \
            killed or left), 73 (the host's memory is full or bad), 74 (the guest's kernel panicked), 75 (it \
            rebooted), 124 (--timeout), 125 (penumbra itself failed), 128 + n (signal n), 69 (nowhere to run).
            """)

    @Option(help: "A bzImage (vmlinuz) or ELF kernel (vmlinux).", completion: .file())
    var kernel: String

    @Option(help: "Its initial RAM disk.", completion: .file())
    var initrd: String?

    @Option(help: "Its command line.")
    var cmdline = "console=hvc0"

    @Option(
        help: """
            A file or block device, of the host that the VM runs on, as the guest's next disk: xvda, xvdb and so \
            on; ':ro' behind it: the guest can only read. Repeat for more.
            """, completion: .file())
    var disk: [DiskOption] = []

    @Option(
        help: """
            none, or user: the host's network, without privileges, through passt. The guest is \
            \(Self.dotted(UserNetwork.address))/\(UserNetwork.prefixLength), its gateway \
            \(Self.dotted(UserNetwork.gateway)), its name server \(Self.dotted(UserNetwork.nameServer)).
            """)
    var network = NetworkKind.none

    @Option(
        help:
            "[ADDRESS:]HOST:GUEST[/udp], a port of the host and one of the guest's to which it leads; repeat for more."
    )
    var publish: [PublishedPort] = []

    @Option(
        help: ArgumentHelp(
            """
            A directory, of the host that the VM runs on, that the guest can mount with 'mount -t 9p -o \
            trans=xen,version=9p2000.L,msize=524288 TAG DIRECTORY' if its kernel has the modules 9pnet_xen and 9p \
            (Debian's cloud kernels have not); ':ro' behind it: the guest can only read. Repeat for more.
            """, valueName: "TAG=PATH"), completion: .file())
    var share: [ShareOption] = []

    @OptionGroup var options: LinuxGuestOptions

    enum NetworkKind: String, ExpressibleByArgument, CaseIterable {
        case none, user
    }

    private static func dotted(_ address: [UInt8]) -> String {
        address.map(String.init).joined(separator: ".")
    }

    /// In the order that they were given.
    private var disks: [Disk] { disk.enumerated().map { index, option in option.disk(index) } }

    func validate() throws {
        guard disk.count <= Disk.limit else { throw ValidationError("--disk: at most \(Disk.limit) of them") }
        guard network == .user || publish.isEmpty else {
            throw ValidationError("--publish needs --network user")
        }
        guard share.count <= VolumeShare.limit else {
            throw ValidationError("--share: at most \(VolumeShare.limit) of them")
        }
    }

    func run() throws {
        try GuestReport.exit {
            let place = try Place.choose(options.place)
            let initrd = try initrd.map(Files.read)
            // Before it is copied to where there may be no room for it.
            if let initrd { try XenGuest.check(initrd: initrd, against: try MemorySize(options.memory)) }
            return switch place {
            case .thisHost:
                try LocalGuest(
                    kernel: kernel, initrd: initrd, commandLine: cmdline, options: options, disks: disks,
                    network: network == .user ? try UserNetwork.start(publishing: publish) : nil,
                    shares: share.map(\.share)
                ).run()
            case .machine(let connection): try run(initrd, on: connection)
            }
        }
    }

    /// The devices once more, for the penumbra in the machine.
    private var deviceWords: [String] {
        disk.map { "--disk=\($0.text)" } + ["--network=\(network.rawValue)"]
            + publish.map { "--publish=\($0)" } + share.map { "--share=\($0.text)" }
    }

    private func run(_ initrd: [UInt8]?, on connection: Connection) throws -> Int32 {
        var files = [("--kernel=", try Files.read(kernel))]
        if let initrd { files.append(("--initrd=", initrd)) }
        // The parser takes no empty value after "=".
        let commandLine = cmdline.isEmpty ? ["--cmdline", ""] : ["--cmdline=\(cmdline)"]
        return try RemoteGuest(
            connection: connection, verb: "boot",
            options: options.words(kernel: kernel) + commandLine + deviceWords,
            input: .raw
        ).run(files)
    }
}

/// PATH or PATH:ro.
struct DiskOption: ExpressibleByArgument {
    private static let readOnly = ":ro"

    let text: String

    init?(argument: String) {
        guard !argument.isEmpty, argument != Self.readOnly else { return nil }
        text = argument
    }

    func disk(_ index: Int) -> Disk {
        let isReadOnly = text.hasSuffix(Self.readOnly)
        return Disk(
            path: String(text.dropLast(isReadOnly ? Self.readOnly.count : 0)), isReadOnly: isReadOnly,
            index: index)
    }
}

extension PublishedPort: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
