// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The core's log, debug builds only: text on port 0xe9, which QEMU and Bochs write to a file.
// A release core has neither the text nor the instruction.

#if PENUMBRA_DEBUG
    enum DebugLog {
        static func write(_ text: StaticString) {
            var index = 0
            while index < text.utf8CodeUnitCount {
                Processor.writeDebugByte(text.utf8Start[index])
                index += 1
            }
        }

        static func write(_ value: UInt64) {
            var shift: UInt64 = 60
            while shift > 0 && value >> shift == 0 { shift -= 4 }
            while true {
                let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
                Processor.writeDebugByte(digit < 10 ? 48 + digit : 87 + digit)
                if shift == 0 { return }
                shift -= 4
            }
        }

        /// One line: a word and up to three numbers.
        static func line(_ word: StaticString, _ first: UInt64 = 0, _ second: UInt64 = 0, _ third: UInt64 = 0)
        {
            write(word)
            write(" ")
            write(first)
            write(" ")
            write(second)
            write(" ")
            write(third)
            write("\n")
        }
    }
#endif
