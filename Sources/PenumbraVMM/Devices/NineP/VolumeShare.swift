// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import PenumbraSystem

/// A directory of the host's that a guest shares, over 9P. The guest mounts it by its tag:
///
///     mount -t 9p -o trans=xen,version=9p2000.L,msize=524288 TAG DIRECTORY
///
/// Its kernel needs the modules 9pnet_xen and 9p. Debian's cloud kernels have neither: that a kernel can
/// is seen by kernel/net/9p/9pnet_xen.ko among its modules, before it is booted; in the guest, by mount's
/// "unknown filesystem type '9p'". A disk is the alternative there.
///
/// The guest can do in the directory what this process may. It cannot leave it: symbolic links are read
/// by the guest, never followed here, and file systems mounted below it are closed (EXDEV). Of a process
/// of root's, files have the owners that the guest gives them, and the guest can make whatever root can,
/// such as programs that run as their owner, and devices: share directories that no other user of the
/// host can enter. Of any other user's process, all files are that user's: the guest sees them as root's,
/// files of others as nobody's, and changes of owner are refused.
///
/// A file's locks (fcntl(2), flock(2)) are kept in the host's kernel and hold between guests.
public struct VolumeShare: Equatable, Sendable {
    /// What the guest mounts.
    public var tag: String
    public var path: String
    public var isReadOnly: Bool

    public init(tag: String, path: String, isReadOnly: Bool = false) {
        (self.tag, self.path, self.isReadOnly) = (tag, path, isReadOnly)
    }

    /// Of one guest.
    public static let limit = 16

    /// 1 to 31 letters, digits, '-', '_' and '.': a word of mount's, whatever it is written into.
    public static func isTag(_ text: String) -> Bool {
        (1...31).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                    UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}

/// Why a directory cannot be shared; the text is the user's message.
public enum VolumeShareError: Error, Equatable, CustomStringConvertible {
    case notUsable(SystemError)
    case badTag(String)
    case tagInUse(String)
    case tooMany(Int)
    case noDescriptors(UInt64)

    public var description: String {
        switch self {
        case .notUsable(let error): "the directory cannot be shared: \(error)"
        case .badTag(let tag):
            "'\(tag)' is no tag of a share: use 1 to 31 letters, digits, '-', '_' and '.'"
        case .tagInUse(let tag): "two shares have the tag '\(tag)': give each its own"
        case .tooMany(let count): "\(count) shares are too many: a guest has up to \(VolumeShare.limit)"
        case .noDescriptors(let limit):
            "\(limit) open files are too few to share a directory: raise the limit ('ulimit -n')"
        }
    }
}

/// A share's directory, open.
final class SharedDirectory: Sendable {
    /// Who owns the files, to the host and to the guest.
    enum Ownership: Equatable {
        case asTheyAre
        /// This user's and group's, which the guest takes for root's.
        case one(user: uid_t, group: gid_t)
    }

    let share: VolumeShare
    let root: SharedFile
    let ownership: Ownership
    /// Of a guest's, at a time.
    let fidLimit: Int

    /// All of one guest.
    static func open(_ shares: [VolumeShare]) throws(VolumeShareError) -> [SharedDirectory] {
        guard !shares.isEmpty else { return [] }
        guard shares.count <= VolumeShare.limit else { throw .tooMany(shares.count) }
        var tags: Set<String> = []
        for share in shares where !tags.insert(share.tag).inserted { throw .tagInUse(share.tag) }
        let fids = try DescriptorLimit.fids(shares: shares.count)
        return try shares.map { share throws(VolumeShareError) in
            try SharedDirectory(share, fidLimit: fids)
        }
    }

    init(
        _ share: VolumeShare, ownership: Ownership = .ofThisProcess, fidLimit: Int
    ) throws(VolumeShareError) {
        guard VolumeShare.isTag(share.tag) else { throw .badTag(share.tag) }
        do throws(NinePFailure) {
            let number = try attempt { Int(linux_open_root(share.path)) }
            root = try SharedFile(Descriptor(adopting: Int32(number)), place: nil)
            // What later opens depend on: the right to read it, and /proc.
            _ = try root.open(O_RDONLY)
        } catch {
            throw .notUsable(SystemError(call: "open", subject: share.path, code: error.code))
        }
        (self.share, self.ownership, self.fidLimit) = (share, ownership, fidLimit)
    }
}

extension SharedDirectory.Ownership {
    static var ofThisProcess: Self { geteuid() == 0 ? .asTheyAre : .one(user: geteuid(), group: getegid()) }
}

/// Descriptors of this process's: each fid may need three, for the file, its directory, and opened.
enum DescriptorLimit {
    private static let perFid: UInt64 = 3
    /// For all but shares.
    private static let reserve: UInt64 = 512
    private static let mostFids: UInt64 = 1 << 16
    private static let fewestFids: UInt64 = 64

    /// Raises the limit as far as that helps and is allowed; how many fids each share can have.
    static func fids(shares: Int) throws(VolumeShareError) -> Int {
        let reserve = reserve + UInt64(NinePLocks.limit * shares)
        let wanted = reserve + mostFids * perFid * UInt64(shares)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        if limit.rlim_cur < wanted { raise(&limit, to: wanted) }
        guard limit.rlim_cur > reserve else { throw .noDescriptors(UInt64(limit.rlim_cur)) }
        let fids = min((UInt64(limit.rlim_cur) - reserve) / perFid / UInt64(shares), mostFids)
        guard fids >= fewestFids else { throw .noDescriptors(UInt64(limit.rlim_cur)) }
        return Int(fids)
    }

    private static func raise(_ limit: inout rlimit, to wanted: UInt64) {
        let raised = [max(limit.rlim_max, rlim_t(wanted)), limit.rlim_max].map { most in
            rlimit(rlim_cur: min(most, rlim_t(wanted)), rlim_max: most)
        }
        // More than the present maximum is for the privileged.
        for var new in raised where setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &new) == 0 {
            limit = new
            return
        }
    }
}
