// SPDX-License-Identifier: Apache-2.0
import Glibc
import PenumbraSystem
import PenumbraVMM
import Testing

@testable import PenumbraContainers

/// A monitor on a thread of its own, with a VM that the test plays.
final class MonitorBench {
    private let directory: TemporaryDirectory
    let store: ContainerStore
    let container: Container
    let runtime: FakeRuntime
    let starter: MonitorClient
    private let socket: String
    private let thread: SystemThread

    /// - Parameter store: has a container "web"; nil: one is made as `change` wants it.
    init(
        refusal: String? = nil, in store: ContainerStore? = nil,
        _ change: (inout ContainerConfiguration) -> Void = { _ in }
    ) throws {
        directory = try TemporaryDirectory()
        self.store = try store ?? ContainerStore(path: directory.path + "/c")
        if store == nil {
            var configuration = try ContainerConfiguration.sample("web")
            change(&configuration)
            try self.store.create(configuration) { _ in }
        }
        let store = self.store
        container = try store.find("web")
        let limits = container.configuration.logLimits
        let inbox = try RuntimeInbox()
        runtime = FakeRuntime(inbox, refusal: refusal)
        socket = directory.path + "/socket"
        let (ours, theirs) = try LocalSocket.pair()
        starter = MonitorClient(name: "web", socket: ours)
        let listener = try LocalSocket.listen(at: socket)
        let lock = try #require(try store.lock(container.id))
        thread = try SystemThread(name: "monitor") { [store, container, runtime] in
            do {
                let monitor = try ContainerMonitor(
                    container, in: store, runtime: runtime, inbox: inbox, listener: listener,
                    starter: theirs, keeper: ContainerKeeper(of: store.files(container.id), limits))
                monitor.farewell(monitor.run(terminal: nil))
            } catch { Issue.record("\(error)") }
            withExtendedLifetime(lock) {}
        }
    }

    func client() throws -> MonitorClient {
        MonitorClient(name: "web", socket: try LocalSocket.connect(to: socket))
    }

    func tell(_ events: AgentEvent...) { for event in events { runtime.inbox.post(.agent(event)) } }

    /// Waits until the VM was told so.
    func expect(_ call: FakeRuntime.Call, sourceLocation: SourceLocation = #_sourceLocation) {
        for _ in 0..<500 {
            if runtime.calls.contains(call) { return }
            usleep(10_000)
        }
        Issue.record("no \(call) in \(runtime.calls)", sourceLocation: sourceLocation)
    }

    func join() { thread.join() }

    /// How it ended, once it has.
    func end() throws -> ContainerExit {
        join()
        guard case .exited(let exit) = try store.find("web").state else {
            throw ContainerError.notRunning("its end is not written down")
        }
        return exit
    }
}

extension MonitorClient {
    func message() throws -> MonitorMessage {
        while true {
            if let message = try next() { return message }
            guard socket.waitReadable(seconds: 10) else { throw ContainerError.silent("web", seconds: 10) }
            try receive()
        }
    }
}
