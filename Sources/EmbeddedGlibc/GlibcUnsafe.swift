// SPDX-License-Identifier: Apache-2.0
//
// Embedded Swift's stand-in for the Glibc module: the C library, and what Swift's own overlay adds to it.
@_exported import CGlibc

public var errno: Int32 { embedded_errno() }

public func open(_ path: UnsafePointer<CChar>, _ flags: Int32, _ mode: mode_t) -> Int32 {
    embedded_open(path, flags, mode)
}

public func fcntl(_ descriptor: Int32, _ command: Int32) -> Int32 { embedded_fcntl(descriptor, command, 0) }

public func fcntl(_ descriptor: Int32, _ command: Int32, _ value: Int32) -> Int32 {
    embedded_fcntl(descriptor, command, value)
}

public var S_IFMT: mode_t { 0o170000 }
public var S_IFIFO: mode_t { 0o010000 }
public var S_IFCHR: mode_t { 0o020000 }
public var S_IFDIR: mode_t { 0o040000 }
public var S_IFBLK: mode_t { 0o060000 }
public var S_IFREG: mode_t { 0o100000 }
public var S_IFLNK: mode_t { 0o120000 }
public var S_IFSOCK: mode_t { 0o140000 }
