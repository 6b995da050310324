// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraMachine
import PenumbraSystem
import Testing

@testable import penumbra

/// What `penumbra doctor` says of the jail, on hosts with more and fewer walls for it.
@Suite struct JailCheckTests {
    private static let refusal = SystemError(call: "unshare", subject: "namespaces", code: EPERM)

    private func check(filters: Bool = true, root: SystemError? = nil, landlock: Int? = 2) -> Check {
        JailCheck(hasFilters: filters, rootProblem: root, landlockVersion: landlock).check
    }

    @Test func allWallsAreFine() {
        #expect(check().status == .ok && check().finding.contains("landlock (version 2)"))
    }

    @Test func aWallThatIsMissingIsAWarning() {
        #expect(check(landlock: nil).status == .warning)
        #expect(check(landlock: nil).remedy?.contains("lsm=landlock") == true)
        let withoutRoot = check(root: Self.refusal)
        #expect(withoutRoot.status == .warning && withoutRoot.finding.contains("Operation not permitted"))
    }

    @Test func withoutThemNoVMRuns() {
        #expect(check(filters: false).status == .failed)
        #expect(check(root: Self.refusal, landlock: nil).status == .failed)
    }
}
