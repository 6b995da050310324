// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@testable import PenumbraMachine

/// `penumbra doctor` against hosts made of a few files.
@Suite struct HostChecksTests {
    private let directory: TemporaryDirectory
    private var checks: HostChecks { HostChecks(root: directory.path) }
    private static let secureBoot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

    init() throws {
        directory = try TemporaryDirectory()
        try directory.write("6.1.0-9-amd64\n", to: "proc/sys/kernel/osrelease")
        try directory.write("flags\t\t: fpu lm nx syscall fsgsbase xsave pcid vmx\n", to: "proc/cpuinfo")
        try directory.write("", to: "lib/modules/6.1.0-9-amd64/build/Makefile")
    }

    @Test func aSoundHostIsFine() {
        #expect(checks.all().allSatisfy { $0.status == .ok && $0.remedy == nil })
        #expect(checks.virtualization().finding == "Intel VT-x is there; not needed")
    }

    @Test(arguments: ["lm", "nx", "syscall", "fsgsbase", "xsave"])
    func aMissingFeatureFails(_ feature: String) throws {
        let others = ["lm", "nx", "syscall", "fsgsbase", "xsave"].filter { $0 != feature }
        try directory.write("flags : \(others.joined(separator: " "))\n", to: "proc/cpuinfo")
        #expect(checks.features().status == .failed)
        #expect(checks.features().finding == "lacks \(feature)")
        #expect(checks.features().remedy != nil)
    }

    @Test func aCpuWithoutPcidIsAWarning() throws {
        try directory.write("flags : lm nx syscall fsgsbase xsave\n", to: "proc/cpuinfo")
        #expect(checks.processContexts().status == .warning)
        #expect(checks.virtualization() == .ok("hardware virtualization", "none; not needed"))
    }

    @Test(arguments: [("6.12.9-amd64", Check.Status.ok), ("6.10.1", .warning), ("6.18.44", .warning)])
    func onlyTestedKernelsAreOk(_ release: String, _ status: Check.Status) throws {
        try directory.write(release + "\n", to: "proc/sys/kernel/osrelease")
        #expect(checks.kernel().status == status)
        #expect(checks.headers().status == .warning)
        #expect(checks.headers().remedy?.contains("linux-headers-\(release)") == true)
    }

    @Test(arguments: [(UInt8(0), Check.Status.ok), (1, .warning)])
    func secureBootIsSeen(_ value: UInt8, _ status: Check.Status) throws {
        try directory.write([6, 0, 0, 0, value], to: Self.secureBoot)
        #expect(checks.signatures().status == status)
    }

    @Test func whatTheKernelLeavesOpenIsSeen() throws {
        let directory = "sys/devices/system/cpu/vulnerabilities"
        try self.directory.write("Mitigation: PTI\n", to: "\(directory)/meltdown")
        try self.directory.write("Not affected\n", to: "\(directory)/srbds")
        #expect(checks.mitigations().status == .ok)
        try self.directory.write(
            "Vulnerable: Clear CPU buffers attempted, no microcode\n", to: "\(directory)/mds")
        #expect(checks.mitigations().status == .warning)
        #expect(checks.mitigations().finding == "the kernel itself is open to mds")
    }

    @Test(arguments: [
        ("1", "Mitigation: PTE Inversion", Check.Status.warning), ("0", "Mitigation: PTE Inversion", .ok),
        ("1", "Not affected", .ok),
    ])
    func threadsThatLeakAreSeen(_ active: String, _ state: String, _ status: Check.Status) throws {
        try directory.write("\(active)\n", to: "sys/devices/system/cpu/smt/active")
        try directory.write("\(state)\n", to: "sys/devices/system/cpu/vulnerabilities/l1tf")
        #expect(checks.siblingThreads().status == status)
    }

    @Test func enforcedSignaturesAreSeen() throws {
        try directory.write("Y\n", to: "sys/module/module/parameters/sig_enforce")
        #expect(checks.signatures().status == .warning)
    }

    @Test func anEmptyHostFailsWithoutCrashing() throws {
        let empty = try TemporaryDirectory()
        let results = HostChecks(root: empty.path).all()
        #expect(results.first?.status == .failed)
        #expect(results.allSatisfy { $0.status == .ok || $0.remedy != nil })
    }
}
