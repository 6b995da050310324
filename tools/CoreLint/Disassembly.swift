// SPDX-License-Identifier: Apache-2.0

/// A symbol of the image and the instructions from it to the next symbol.
public struct Function: Sendable {
    public let address: UInt64
    /// As the linker sees it.
    public let symbol: String
    /// As people write it; the same as `symbol` where nothing was mangled.
    public internal(set) var name: String
    /// Other symbols at the same address; which one the disassembler prints is its choice.
    public internal(set) var aliases: [String] = []
    public let section: String
    public internal(set) var instructions: [Instruction]

    /// Retpoline thunks: LLVM's own (`__llvm_retpoline_r11`), or the image's, under the name that
    /// `-mretpoline-external-thunk` calls (`__x86_indirect_thunk_r11`).
    var isRetpolineThunk: Bool {
        symbol.hasPrefix("__llvm_retpoline_") || symbol.hasPrefix("__x86_indirect_thunk_")
    }
}

/// What `llvm-objdump -d --no-show-raw-insn` prints, by function, in the order of addresses.
public struct Disassembly: Sendable {
    public internal(set) var functions: [Function] = []

    public init(parsing text: String) {
        var section = ""
        for line in text.split(whereSeparator: \.isNewline) {
            if let name = Self.sectionName(line) {
                section = name
            } else if let (address, symbol) = Self.functionHeader(line) {
                functions.append(
                    Function(
                        address: address, symbol: symbol, name: symbol, section: section, instructions: []))
            } else if let instruction = Self.instruction(line), !functions.isEmpty {
                functions[functions.count - 1].instructions.append(instruction)
            }
        }
        functions.sort { $0.address < $1.address }
    }

    /// `Disassembly of section .text:`
    private static func sectionName(_ line: Substring) -> String? {
        let start = "Disassembly of section "
        guard line.hasPrefix(start), line.hasSuffix(":") else { return nil }
        return String(line.dropFirst(start.count).dropLast())
    }

    /// `ffff828000001138 <entry>:`
    private static func functionHeader(_ line: Substring) -> (UInt64, String)? {
        guard line.hasSuffix(">:"), let open = line.firstIndex(of: "<"),
            let address = UInt64(line[..<open].prefix { $0 != " " }, radix: 16)
        else { return nil }
        return (address, String(line[line.index(after: open)...].dropLast(2)))
    }

    /// `ffff828000001138:      	pushq	%rbp`
    private static func instruction(_ line: Substring) -> Instruction? {
        guard let colon = line.firstIndex(of: ":"),
            let address = UInt64(line[..<colon].drop { $0 == " " }, radix: 16)
        else { return nil }
        return Instruction(address: address, text: line[line.index(after: colon)...])
    }
}

extension Disassembly {
    /// The index of the function that holds `address`.
    func functionIndex(containing address: UInt64) -> Int? {
        var low = 0
        var high = functions.count
        while low < high {
            let middle = (low + high) / 2
            if functions[middle].address <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0, let last = functions[low - 1].instructions.last, address <= last.address else {
            return nil
        }
        return low - 1
    }

    func filter(_ isIncluded: (Function) -> Bool) -> Disassembly {
        var copy = self
        copy.functions = functions.filter(isIncluded)
        return copy
    }

    /// Adds every symbol of the image that names the same address as a function.
    func addingAliases(from image: ELFImage) -> Disassembly {
        let symbols = Dictionary(grouping: image.symbols.filter { !$0.name.isEmpty }, by: \.address)
        var copy = self
        for index in functions.indices {
            copy.functions[index].aliases = (symbols[functions[index].address] ?? []).map(\.name)
        }
        return copy
    }

    /// Gives functions the names that `demangle` maps their symbols to.
    mutating func rename(_ demangle: [String: String]) {
        for index in functions.indices {
            functions[index].name = demangle[functions[index].symbol] ?? functions[index].symbol
        }
    }
}
