// SPDX-License-Identifier: Apache-2.0

/// Input of a process's that has not reached it, in its order, and whose it is: several clients may be
/// attached to one process, and each is told what was taken of its own.
struct UntakenInput {
    private struct Piece {
        /// A client that has gone is not held back by what it left.
        weak var peer: MonitorPeer?
        var count: Int
    }

    private var pieces: [Piece] = []

    mutating func append(_ count: Int, of peer: MonitorPeer) {
        peer.untaken += count
        if let last = pieces.last, last.peer === peer {
            pieces[pieces.count - 1].count += count
        } else {
            pieces.append(Piece(peer: peer, count: count))
        }
    }

    /// The process took so many bytes; says whose they were.
    mutating func take(_ count: Int) -> [(peer: MonitorPeer, count: Int)] {
        var (rest, taken) = (count, [(peer: MonitorPeer, count: Int)]())
        while rest > 0, let first = pieces.first {
            let count = min(first.count, rest)
            rest -= count
            if let peer = first.peer {
                peer.untaken -= count
                taken.append((peer, count))
            }
            if count < first.count { pieces[0].count -= count } else { pieces.removeFirst() }
        }
        return taken
    }
}
