// SPDX-License-Identifier: Apache-2.0
import PenumbraProtocol

/// The user and the groups that a process runs as.
struct Account: Equatable {
    var user: UInt32 = 0
    var group: UInt32 = 0
    /// Supplementary groups.
    var groups: [UInt32] = []
    var home = "/"

    /// What "USER", "USER:GROUP", each a name or a number, means in a container with this passwd(5) and
    /// group(5). Empty: root. A number need not be in them.
    init(_ text: String, passwd: String, group groupFile: String) throws(AgentFailure) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts[0].isEmpty ? "0" : String(parts[0])
        let entries = Self.entries(passwd, fields: 7)
        let number = UInt32(name)
        let entry =
            entries.first { $0[0] == name } ?? entries.first { number != nil && UInt32($0[2]) == number }
        guard let user = entry.flatMap({ UInt32($0[2]) }) ?? number else {
            throw AgentFailure(
                .setup, "user '\(name)' is not in the container's /etc/passwd: use its number, or add it")
        }
        self.user = user
        if let entry {
            group = UInt32(entry[3]) ?? 0
            home = entry[5].isEmpty ? "/" : entry[5]
        }
        let groupEntries = Self.entries(groupFile, fields: 4)
        if parts.count == 2 {
            group = try Self.group(String(parts[1]), groupEntries)
        } else if let entry {
            groups = Self.memberships(of: entry[0], groupEntries)
        }
        // The list that a login has: the first group is in it too.
        if !groups.contains(group) { groups.insert(group, at: 0) }
    }

    private static func group(_ name: String, _ entries: [[String]]) throws(AgentFailure) -> UInt32 {
        let entry = entries.first { $0[0] == name }
        guard let group = entry.flatMap({ UInt32($0[2]) }) ?? UInt32(name) else {
            throw AgentFailure(
                .setup, "group '\(name)' is not in the container's /etc/group: use its number, or add it")
        }
        return group
    }

    private static func memberships(of user: String, _ entries: [[String]]) -> [UInt32] {
        entries.filter { $0[3].split(separator: ",").contains { $0 == user } }.compactMap { UInt32($0[2]) }
    }

    /// Lines with as many fields as they must have; others are damaged or comments.
    private static func entries(_ file: String, fields: Int) -> [[String]] {
        file.split(separator: "\n").map { line in
            line.split(separator: ":", omittingEmptySubsequences: false).map { String($0) }
        }.filter { $0.count == fields }
    }
}
