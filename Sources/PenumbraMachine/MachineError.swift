// SPDX-License-Identifier: Apache-2.0

/// What can go wrong with a machine; the text is the user's message.
public enum MachineError: Error, Equatable, CustomStringConvertible {
    case badName(String)
    case noHome
    case pathTooLong(String)
    case notRunning(String)
    case alreadyRunning(String, pid: Int32?)
    case missing(what: String, path: String, remedy: String)
    case startFailed(name: String, reason: String, log: String)
    case agentSilent(name: String, seconds: Double)
    case allPortsBusy(name: String, ports: Int)
    case otherVersion(name: String, theirs: UInt32)
    case connectionLost(name: String, reason: String)
    /// In the machine: its file systems are in its memory.
    case noRoom(path: String)
    case refused(String)

    public var description: String {
        switch self {
        case .badName(let name):
            "'\(name)' is no name for a machine: use 1 to 32 of a-z, 0-9 and '-'"
        case .noHome:
            "no place for the machine's state: set HOME, XDG_STATE_HOME or PENUMBRA_STATE_DIR"
        case .pathTooLong(let path):
            "the path '\(path)' is too long for a socket: set PENUMBRA_STATE_DIR to a shorter directory"
        case .notRunning(let name):
            "machine '\(name)' is not running: start it with 'penumbra machine start\(Self.option(name))'"
        case .alreadyRunning(let name, let pid):
            "machine '\(name)' is already running\(pid.map { " (QEMU has process id \($0))" } ?? ""): "
                + "stop it first with 'penumbra machine stop\(Self.option(name))'"
        case .missing(let what, let path, let remedy): "\(what) is missing (\(path)): \(remedy)"
        case .startFailed(let name, let reason, let log):
            "machine '\(name)' did not start: \(reason); the whole log is in \(log)"
        case .agentSilent(let name, let seconds):
            "machine '\(name)' runs but its agent did not answer within \(Int(seconds)) s: "
                + "see 'penumbra machine logs\(Self.option(name))'"
        case .allPortsBusy(let name, let ports):
            "machine '\(name)' serves \(ports) sessions already: end one of them"
        case .otherVersion(let name, let theirs):
            "machine '\(name)' was started by another version of penumbra (protocol \(theirs), "
                + "this one speaks \(Message.version)): stop and start it"
        case .connectionLost(let name, let reason): "machine '\(name)' went away: \(reason)"
        case .noRoom(let path):
            "there is no room for \(path): stop the machine and start it with more --memory"
        case .refused(let reason): reason
        }
    }

    private static func option(_ name: String) -> String {
        name == StateDirectory.defaultName ? "" : " --name \(name)"
    }
}
