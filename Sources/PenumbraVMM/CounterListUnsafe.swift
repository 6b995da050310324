// SPDX-License-Identifier: Apache-2.0
import CPenumbra

/// A VM's counters by the names of interface/penumbra/counters.h.
public enum CounterList {
    public static func named(_ counters: penumbra_counters) -> [(name: String, value: UInt64)] {
        let values = withUnsafeBytes(of: counters.counter) { bytes in
            // An array of 64-bit counters, aligned as such.
            [UInt64](bytes.bindMemory(to: UInt64.self))
        }
        var list: [(name: String, value: UInt64)] = []
        for (index, value) in values.enumerated() {
            if let name = penumbra_counter_name(UInt32(index)) { list.append((String(cString: name), value)) }
        }
        return list + [
            ("pinned_pages", counters.pinned_pages), ("pool_pages", counters.pool_pages),
            ("table_pages", counters.table_pages),
        ]
    }
}
