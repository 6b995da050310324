// SPDX-License-Identifier: Apache-2.0
import Glibc

extension TestMachine {
    /// Kibibytes that the machine could give away at once: MemAvailable without caches and without the empty
    /// slabs that each cache keeps (hundreds of kibibytes, and how many is chance), and the free pages on the
    /// lists of the CPUs, which it leaves out and which are tens of megabytes.
    public func availableMemory() throws -> Int {
        let result = try shell(
            """
            sync; echo 3 >/proc/sys/vm/drop_caches
            for shrink in /sys/kernel/slab/*/shrink; do echo 1 >$shrink; done
            sleep 1
            available=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
            listed=$(awk '/ count:/ {pages += $2} END {print pages * 4}' /proc/zoneinfo)
            echo $((available + listed))
            """)
        guard let kibibytes = Int(result.output.filter { !$0.isWhitespace }) else {
            throw Failure(
                description: "the machine does not tell its memory: \(result.output)\(result.errors)")
        }
        return kibibytes
    }

    /// How much less is available than there was, in KiB. What VMs had comes back a while after their end
    /// (namespaces are taken down by a work item, much is freed by RCU): up to half a minute is waited
    /// for less than `limit` to be missing.
    public func missingMemory(since before: Int, atMost limit: Int) throws -> Int {
        var missing = before - (try availableMemory())
        for _ in 0..<15 where missing >= limit {
            sleep(1)
            missing = before - (try availableMemory())
        }
        return missing
    }
}
