// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A thread that must be joined or detached.
public final class SystemThread: Sendable {
    private let handle: pthread_t

    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    public init(name: String, _ run: @escaping @Sendable () -> Void) throws(SystemError) {
        var handle = pthread_t()
        let body = Unmanaged.passRetained(Body(run))
        // The new thread takes over the reference.
        let result = pthread_create(
            &handle, nil,
            { argument in
                Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        guard result == 0 else {
            body.release()
            throw SystemError(call: "pthread_create", subject: name, code: result)
        }
        self.handle = handle
    }

    public func join() { pthread_join(handle, nil) }

    /// Leaves the thread to itself.
    public func detach() { pthread_detach(handle) }
}
