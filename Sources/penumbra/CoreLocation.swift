// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraMachine
import PenumbraSystem

/// The build id of a core image, as hexadecimal digits.
struct BuildID: Equatable {
    let bytes: [UInt8]

    init(_ info: penumbra_info) {
        bytes = withUnsafeBytes(of: info.build_id) { Array($0) }
    }

    init?(digits: some StringProtocol) {
        let nibbles = digits.compactMap(\.hexDigitValue)
        guard nibbles.count == 40, digits.count == 40 else { return nil }
        bytes = stride(from: 0, to: 40, by: 2).map { UInt8(nibbles[$0] << 4 | nibbles[$0 + 1]) }
    }

    var digits: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// A place in the core's text, and its way from the machine's penumbra to the one outside: a line
/// on standard error.
struct CoreLocation: Equatable {
    private static let program = "penumbra: "
    private static let beginning = "core bug at 0x"

    let buildID: BuildID
    let address: UInt64

    init(buildID: BuildID, address: UInt64) { (self.buildID, self.address) = (buildID, address) }

    var announcement: String { "\(Self.beginning)\(String(address, radix: 16)), build id \(buildID.digits)" }

    /// From the announcement.
    init?(announcement: some StringProtocol) {
        guard announcement.hasPrefix(Self.beginning) else { return nil }
        let words = announcement.dropFirst(Self.beginning.count).split(separator: " ")
        guard words.count == 4, let address = UInt64(words[0].dropLast(), radix: 16),
            let buildID = BuildID(digits: words[3])
        else { return nil }
        self.init(buildID: buildID, address: address)
    }

    /// From the announcement among other lines.
    init?(in text: String) {
        for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix(Self.program) {
            if let location = Self(announcement: line.dropFirst(Self.program.count)) {
                self = location
                return
            }
        }
        return nil
    }

    /// Function, file and line, or what is missing to tell them.
    func explanation(_ installation: Installation) -> String {
        guard let image = image(installation) else {
            return "no core image with build id \(buildID.digits) is at hand: "
                + "set PENUMBRA_CORE_ELF to its core.elf to see file and line"
        }
        guard let tool = Files.program("llvm-symbolizer") else {
            return "llvm-symbolizer is not in PATH: install Debian's package llvm to see file and line"
        }
        guard
            let output = try? ChildProcess.output(
                tool, ["--obj=\(image)", "0x\(String(address, radix: 16))"])
        else {
            return "\(tool) failed on \(image)"
        }
        let frames = output.split(whereSeparator: \.isNewline).map(String.init)
        return "that is " + frames.joined(separator: " ")
    }

    /// The image with symbols that has this build id.
    func image(_ installation: Installation) -> String? { installation.coreImages.first(where: contains) }

    /// The id is a hash: no other image has these bytes.
    private func contains(_ image: String) -> Bool {
        guard let bytes = try? Files.read(image), let first = buildID.bytes.first else { return false }
        return bytes.indices.contains { bytes[$0] == first && bytes[$0...].starts(with: buildID.bytes) }
    }
}
