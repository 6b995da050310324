// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraMachine
import PenumbraSystem
import PenumbraVMM

/// A kernel made ready for containers: unpacked, so that no start pays for that, with an initial RAM disk
/// of the agent and those of its modules that the agent may want.
///
///     kernels/NAME/vmlinux       the ELF program
///     kernels/NAME/initramfs     penumbra-init and /modules
///     kernels/NAME/release       of the kernel
///     kernels/NAME/source        what it was made of, a line for each file: size, time of change, path
///
/// NAME is the kernel's release and a hash of that list, so another build of any part makes another
/// bundle. A bundle is made under another name and renamed: it is there as a whole or not at all.
public struct KernelBundle: Equatable, Sendable {
    public let directory: String
    public let release: String

    public var name: String { String(directory.split(separator: "/").last ?? "") }
    public var kernel: String { "\(directory)/vmlinux" }
    public var initramfs: String { "\(directory)/initramfs" }

    /// What the agent's kernel wants to know: the console, of which nothing is to be lost, and nothing of
    /// what takes time to say or to try.
    public static let commandLine = "console=hvc0 rdinit=/init panic=-1 quiet loglevel=4 random.trust_cpu=on"

    /// A bundle that is there, such as one that another host made.
    public init?(existing directory: String) {
        guard let release = Files.text("\(directory)/release") else { return nil }
        (self.directory, self.release) = (directory, release)
    }

    /// Takes the bundle of a kernel from `kernels`, or makes it.
    public init(
        _ kernel: GuestKernel, in kernels: String, installation: Installation
    ) throws(KernelBundleError) {
        guard let agent = installation.find("build/penumbra-init", "penumbra-init") else { throw .noAgent }
        let source = try Self.source(of: kernel, agent)
        let directory = "\(kernels)/\(kernel.release)-\(Self.hash(source))"
        if !Self.isMade(of: source, directory) {
            let lock = try Self.lock(kernels)
            defer { withExtendedLifetime(lock) {} }
            if !Self.isMade(of: source, directory) {
                let parts = try Parts(of: kernel, agent)
                do throws(SystemError) { try parts.write(source, to: directory) } catch {
                    throw .system(error)
                }
            }
        }
        (self.directory, release) = (directory, kernel.release)
    }

    private static func isMade(of source: String, _ directory: String) -> Bool {
        Files.text("\(directory)/source") == source
    }

    /// One process at a time makes bundles: of many that start, the others find what the first has made.
    private static func lock(_ kernels: String) throws(KernelBundleError) -> Descriptor {
        do throws(SystemError) {
            try Files.makeDirectories(kernels)
            let lock = try Descriptor(path: kernels, flags: O_RDONLY | O_DIRECTORY)
            lock.waitForLock()
            return lock
        } catch { throw .system(error) }
    }

    /// The list of the modules stands for them: they come and go together.
    private static func source(of kernel: GuestKernel, _ agent: String) throws(KernelBundleError) -> String {
        do throws(SystemError) {
            return try stamp(kernel.image) + stamp("\(kernel.modules)/modules.order") + stamp(agent)
        } catch { throw .system(error) }
    }

    private static func stamp(_ path: String) throws(SystemError) -> String {
        var information = stat()
        try retrying("stat", path) { Int(stat(path, &information)) }
        let time = information.st_mtim
        return "\(information.st_size) \(time.tv_sec).\(time.tv_nsec) \(path)\n"
    }

    /// FNV-1a, 64 bits: the whole list is compared too.
    private static func hash(_ text: String) -> String {
        let value = text.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// The files of a bundle that is being made.
private struct Parts {
    let release: String
    let program: [UInt8]
    let initramfs: [UInt8]

    init(of kernel: GuestKernel, _ agent: String) throws(KernelBundleError) {
        release = kernel.release
        let modules = try ModuleSet(kernel.modules)
        let image: [UInt8]
        let agent: [UInt8] = try Self.read(agent)
        image = try Self.read(kernel.image)
        do { program = try KernelImage.compactProgram(in: image) } catch {
            throw .badImage(path: kernel.image, reason: "\(error)")
        }
        initramfs = Self.initramfs(agent, modules)
    }

    private static func read(_ path: String) throws(KernelBundleError) -> [UInt8] {
        do throws(SystemError) { return try Files.read(path) } catch { throw .system(error) }
    }

    private static func initramfs(_ agent: [UInt8], _ modules: ModuleSet) -> [UInt8] {
        var archive = CpioArchive()
        for directory in ["dev", "proc", "sys", "run"] { archive.addDirectory(directory) }
        // What the kernel opens for init, before there is a devtmpfs.
        archive.addCharacterDevice("dev/console", major: 5, minor: 1)
        archive.addFile("init", agent, permissions: 0o755)
        archive.addFile("modules/list", Array(modules.list.utf8))
        for module in modules.modules { archive.addFile("modules/\(module.name).ko", module.file.bytes) }
        return archive.finished()
    }

    /// Under another name first; by one process at a time.
    func write(_ source: String, to directory: String) throws(SystemError) {
        let temporary = "\(directory).new"
        try Files.removeTree(temporary)
        try Files.makeDirectories(temporary)
        let files: [(String, [UInt8])] = [
            ("vmlinux", program), ("initramfs", initramfs), ("release", Array(release.utf8)),
            ("source", Array(source.utf8)),
        ]
        for (name, bytes) in files { try Files.writeDurably(bytes, to: "\(temporary)/\(name)") }
        try Files.removeTree(directory)
        try retrying("rename", directory) { Int(rename(temporary, directory)) }
    }
}
