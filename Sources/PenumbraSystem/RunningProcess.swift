// SPDX-License-Identifier: Apache-2.0
import Glibc

/// What /proc says of another process (proc(5)).
public enum RunningProcess {
    /// PF_EXITING (linux/sched.h), which a thread has before its process' files are closed.
    private static let exiting: UInt64 = 4

    /// False for a process that is about to end: its connections may be closed, its locks held still.
    public static func lives(_ process: pid_t) -> Bool {
        guard let text = Files.text("/proc/\(process)/stat"), let end = text.lastIndex(of: ")") else {
            return false
        }
        // Behind the name, which may hold anything: the state, then numbers, the flags as the sixth.
        let fields = text[end...].split(separator: " ").dropFirst()
        guard let state = fields.first, let flags = fields.dropFirst(6).first.flatMap({ UInt64($0) }) else {
            return false
        }
        return state != "Z" && state != "X" && flags & exiting == 0
    }
}
