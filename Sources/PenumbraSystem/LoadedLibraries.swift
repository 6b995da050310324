// SPDX-License-Identifier: Apache-2.0
import CLinux

/// The shared objects that this process runs with.
public enum LoadedLibraries {
    /// Paths, the dynamic loader's among them; empty for a static program.
    public static func paths() -> [String] {
        var paths: [String] = []
        withUnsafeMutablePointer(to: &paths) { list in
            // The callback runs within this call and gets `list` back unchanged.
            linux_each_library(
                { path, context in
                    guard let path, let context else { return }
                    context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: path))
                }, list)
        }
        return paths
    }
}
