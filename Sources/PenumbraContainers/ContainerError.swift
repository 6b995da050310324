// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// What can go wrong with containers; the text is the user's message.
public enum ContainerError: Error, Equatable, CustomStringConvertible {
    case badName(String)
    case unknown(String)
    case ambiguous(String, count: Int)
    case nameInUse(String, by: ContainerID)
    case running(String)
    case notRunning(String)
    /// It has ended, and its monitor has not.
    case ending(String, seconds: Double)
    /// Its files are not as this program writes them.
    case damaged(String, reason: String)
    case noDataDirectory
    case missingProgram(name: String, package: String)
    /// What was asked of a container's monitor, and what it said.
    case refused(String)
    case silent(String, seconds: Double)
    case startFailed(String, reason: String)
    case lost(String)
    case unrecorded(String)
    case badOption(String, reason: String)
    case badVolumeName(String)
    case unknownVolume(String)
    case volumeInUse(String, by: [String])

    public var description: String {
        switch self {
        case .badName(let text):
            "'\(text)' is no name for a container: use 2 to 128 letters, digits, '_', '.' and '-', the first a letter or digit"
        case .unknown(let text): "no such container: '\(text)'; 'penumbra ps -a' lists them"
        case .ambiguous(let text, let count):
            "\(count) containers have ids that begin with '\(text)': give more digits"
        case .nameInUse(let name, let id):
            "the name '\(name)' is in use by container \(id.short): remove that one with 'penumbra rm \(name)', or give another --name"
        case .running(let name):
            "container '\(name)' is running: stop it first with 'penumbra stop \(name)', or use --force"
        case .notRunning(let name):
            "container '\(name)' is not running: start it with 'penumbra start \(name)'"
        case .ending(let name, let seconds):
            "container '\(name)' has ended, and its monitor is still there after \(Int(seconds)) s: try again in a moment"
        case .damaged(let name, let reason):
            "the files of container '\(name)' are damaged (\(reason)): remove it with 'penumbra rm --force \(name)'"
        case .noDataDirectory: "no place for containers: set HOME, XDG_DATA_HOME or PENUMBRA_DATA_DIR"
        case .missingProgram(let name, let package):
            "\(name) is not in PATH: install Debian's package \(package)"
        case .refused(let reason): reason
        case .silent(let name, let seconds):
            "the VM of container '\(name)' does not answer within \(Int(seconds)) s: end it with 'penumbra kill \(name)'"
        case .startFailed(let name, let reason): "container '\(name)' did not start: \(reason)"
        case .lost(let name):
            "the VM of container '\(name)' is gone: 'penumbra inspect \(name)' tells how it ended"
        case .unrecorded(let name):
            "how container '\(name)' ended could not be written down: 'penumbra logs --boot \(name)' has the reason"
        case .badOption(let option, let reason): "\(option): \(reason)"
        case .badVolumeName(let text):
            "'\(text)' is no name for a volume: use 2 to 128 letters, digits, '_', '.' and '-', the first a letter or digit"
        case .unknownVolume(let name): "no such volume: '\(name)'; 'penumbra volume ls' lists them"
        case .volumeInUse(let name, let containers):
            "volume '\(name)' is in use by \(containers.joined(separator: ", ")): remove that first with 'penumbra rm'"
        }
    }
}
