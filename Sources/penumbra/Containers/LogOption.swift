// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import PenumbraContainers

extension LogLimits {
    private static let fileCounts = 1...1000

    /// Docker's max-size and max-file; of several the last holds.
    init(options: [String]) throws {
        self = .standard
        for text in options.flatMap({ $0.split(separator: ",") }) {
            let words = text.split(separator: "=", maxSplits: 1)
            switch (words.first, words.count) {
            case ("max-size", 2): fileSize = try ByteSize(words[1], of: "--log-opt").bytes
            case ("max-file", 2):
                guard let files = Int(words[1]), Self.fileCounts.contains(files) else {
                    throw ValidationError("--log-opt: max-file is 1 to 1000, not '\(words[1])'")
                }
                self.files = files
            default:
                throw ValidationError("--log-opt: 'max-size' and 'max-file' are known, not '\(text)'")
            }
        }
    }
}
