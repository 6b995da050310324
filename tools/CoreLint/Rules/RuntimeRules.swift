// SPDX-License-Identifier: Apache-2.0

/// Nothing in the core allocates, counts references, or initialises lazily: each of these
/// takes unbounded time, can fail, or writes where the image has nothing writable.
enum RuntimeRules {
    private static let patterns = [
        "swift_*", "_swift_*", "malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign",
        "__cxa_*", "__tls_get_addr", "__stack_chk_fail", "_Znw*", "_Zna*", "_Zdl*", "_Zda*", "*swift_once*",
        "abort", "putchar", "arc4random_buf",
    ]

    static func isRuntime(_ symbol: String) -> Bool {
        patterns.contains { glob($0, matches: symbol) }
    }

    static func check(_ function: Function, in disassembly: Disassembly, _ ledger: inout Ledger) {
        for instruction in function.instructions {
            guard let target = instruction.branchTarget,
                let index = disassembly.functionIndex(containing: target)
            else { continue }
            let callee = disassembly.functions[index]
            guard callee.address != function.address, isRuntime(callee.symbol),
                !ledger.excuses(.runtime, named: callee.symbol)
            else { continue }
            ledger.report(
                Finding(
                    .runtime, in: function, at: instruction.address, "calls \(callee.symbol)",
                    remedy: remedy(for: callee.symbol)))
        }
    }

    private static func remedy(for symbol: String) -> String {
        if symbol.contains("once") { return "make the global a constant that the compiler folds" }
        if symbol.contains("retain") || symbol.contains("release") {
            return "use no classes, no existential and no escaping closure here"
        }
        return "allocate nothing; keep values in frames, the pool or the VM's state pages"
    }
}
