// swift-tools-version: 6.0
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let strict: [SwiftSetting] = [.unsafeFlags(["-warnings-as-errors"])]

let package = Package(
    name: "penumbra",
    products: [
        .executable(name: "penumbra", targets: ["penumbra"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
    ],
    targets: [
        // Layouts shared by module, core, VMM and guests: headers only.
        .target(name: "CPenumbra", path: "interface", exclude: ["offsets.c"], publicHeadersPath: "penumbra"),
        // The core's own sources, compiled for Linux and driven by tests over fake memory.
        .target(name: "CCore", path: "core/Shim", publicHeadersPath: "include"),
        .target(
            name: "PenumbraCore", dependencies: ["CPenumbra", "CCore"], path: "core",
            exclude: ["Shim", "World/Assembly", "build.mk", "lint.allow"], swiftSettings: strict),
        .testTarget(name: "PenumbraCoreTests", dependencies: ["PenumbraCore"], swiftSettings: strict),

        // User space.
        .target(name: "CLinux"),
        .target(name: "PenumbraSystem", dependencies: ["CLinux"], swiftSettings: strict),
        .testTarget(name: "PenumbraSystemTests", dependencies: ["PenumbraSystem"], swiftSettings: strict),
        // What a VM's process is shut in with.
        .target(name: "CJail"),
        .target(
            name: "PenumbraJail", dependencies: ["CJail", "CLinux", "CPenumbra", "PenumbraSystem"],
            swiftSettings: strict),
        // A process in that jail that tries to get out.
        .target(name: "CJailProbe", path: "Tests/CJailProbe"),
        .executableTarget(
            name: "jail-probe", dependencies: ["CJailProbe", "CPenumbra", "PenumbraJail", "PenumbraSystem"],
            path: "Tests/JailProbe", swiftSettings: strict),
        .testTarget(
            name: "PenumbraJailTests",
            dependencies: ["jail-probe", "CJail", "PenumbraJail", "PenumbraSystem"],
            swiftSettings: strict),
        .systemLibrary(name: "CCompression"),
        .target(
            name: "PenumbraVMM",
            dependencies: [
                "CPenumbra", "CLinux", "CCompression", "PenumbraJail", "PenumbraProtocol", "PenumbraSystem",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraVMMTests", dependencies: ["PenumbraVMM", "PenumbraProtocol", "CCompression"],
            swiftSettings: strict),
        // What programs on both sides of a guest's edge say to each other.
        .target(name: "PenumbraProtocol", dependencies: ["PenumbraSystem"], swiftSettings: strict),
        .testTarget(
            name: "PenumbraProtocolTests", dependencies: ["PenumbraProtocol", "PenumbraSystem"],
            swiftSettings: strict),
        // Kernels made ready for containers.
        .target(
            name: "PenumbraKernels", dependencies: ["PenumbraMachine", "PenumbraSystem", "PenumbraVMM"],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraKernelsTests",
            dependencies: ["PenumbraKernels", "PenumbraMachine", "PenumbraSystem", "PenumbraVMM"],
            swiftSettings: strict),
        // A container's first process; what ships is built by Sources/penumbra-init/build.mk.
        .target(name: "CInit"),
        .executableTarget(
            name: "penumbra-init", dependencies: ["CInit", "CLinux", "PenumbraProtocol", "PenumbraSystem"],
            exclude: ["build.mk"], swiftSettings: strict),
        .testTarget(
            name: "PenumbraInitTests",
            dependencies: ["penumbra-init", "PenumbraProtocol", "PenumbraSystem", "PenumbraVMM"],
            swiftSettings: strict),
        .target(
            name: "PenumbraMachine", dependencies: ["CLinux", "PenumbraProtocol", "PenumbraSystem"],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraMachineTests", dependencies: ["PenumbraMachine", "PenumbraProtocol"],
            swiftSettings: strict),
        // Images, and the file systems made of them.
        .target(
            name: "PenumbraImages", dependencies: ["CCompression", "PenumbraProtocol", "PenumbraSystem"],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraImagesTests",
            dependencies: ["PenumbraImages", "PenumbraProtocol", "PenumbraSystem"],
            swiftSettings: strict),
        .target(
            name: "PenumbraContainers",
            dependencies: [
                "CLinux", "PenumbraJail", "PenumbraKernels", "PenumbraProtocol", "PenumbraSystem",
                "PenumbraVMM",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraContainersTests", dependencies: ["PenumbraContainers"], swiftSettings: strict),
        .executableTarget(
            name: "penumbra",
            dependencies: [
                "CPenumbra", "PenumbraContainers", "PenumbraImages", "PenumbraJail", "PenumbraKernels",
                "PenumbraProtocol", "PenumbraSystem", "PenumbraVMM", "PenumbraMachine",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraCLITests",
            dependencies: [
                "penumbra", "CPenumbra", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        // Checks the core's disassembly; see docs/core.md.
        .target(name: "CoreLint", path: "tools/CoreLint", swiftSettings: strict),
        .executableTarget(
            name: "core-lint",
            dependencies: [
                "CoreLint", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "tools/core-lint", swiftSettings: strict),
        .testTarget(name: "CoreLintTests", dependencies: ["CoreLint"], swiftSettings: strict),
        // Drives the built program and machines; see docs/testing.md.
        .target(
            name: "PenumbraTestSupport", dependencies: ["PenumbraMachine", "PenumbraSystem"],
            path: "Tests/PenumbraTestSupport", swiftSettings: strict),
        .testTarget(
            name: "PenumbraGuestTests", dependencies: ["PenumbraTestSupport"], swiftSettings: strict),
        .testTarget(
            name: "PenumbraLinuxTests", dependencies: ["PenumbraTestSupport"], exclude: ["Programs"],
            swiftSettings: strict),
        .testTarget(
            name: "PenumbraStressTests",
            dependencies: ["PenumbraTestSupport", "PenumbraMachine", "PenumbraSystem"], exclude: ["Programs"],
            swiftSettings: strict),
    ]
)
