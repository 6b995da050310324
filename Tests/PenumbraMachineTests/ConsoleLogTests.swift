// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraMachine

@Suite struct ConsoleLogTests {
    @Test func aPanicIsTheReason() {
        let log = ConsoleLog(
            text:
                "[    1.0] Linux version\r\n[    2.0] Kernel panic - not syncing: Fatal exception\r\n[    2.1] x"
        )
        #expect(log.failure == "kernel panic: Fatal exception")
        #expect(log.lastLine == "[    2.1] x")
    }

    @Test func initsComplaintIsTheReasonWithoutAPanic() {
        let log = ConsoleLog(
            text: "penumbra-init: failed: the agent ended with status 1\nreboot: Power down\n")
        #expect(log.failure == "the agent ended with status 1")
    }

    @Test func aSoundLogHasNeitherReasonNorComplaints() {
        let log = ConsoleLog(text: "[    1.0] Booting\n[    2.0] reboot: Power down\n")
        #expect(log.failure == nil)
        #expect(log.complaints.isEmpty)
        #expect(ConsoleLog(text: "").lastLine == nil)
    }

    @Test(arguments: [
        "[   26.0] watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [x:1]",
        "[   21.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    3.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1",
        "[    3.0] Oops: 0000 [#1] PREEMPT SMP",
    ])
    func theKernelsComplaintsAreSeen(_ line: String) {
        #expect(ConsoleLog(text: "[    1.0] fine\n\(line)\n").complaints == [line])
    }
}
