// SPDX-License-Identifier: Apache-2.0
import PenumbraContainers
import PenumbraImages
import PenumbraSystem

/// What this host's images, containers and volumes take; docker's columns.
struct DiskUsage {
    /// A kind of things.
    struct Row: Equatable {
        let type: String
        let count: Int
        /// In use: by containers, or running.
        let active: Int
        /// In bytes.
        let size: UInt64
        let reclaimable: UInt64

        private var share: String {
            guard size > 0 else { return ByteCount.text(reclaimable) }
            // Sizes are far from 2^57.
            return "\(ByteCount.text(reclaimable)) (\(reclaimable * 100 / size)%)"
        }

        var json: JSON {
            .object([
                ("Type", .string(type)), ("TotalCount", .string("\(count)")),
                ("Active", .string("\(active)")),
                ("Size", .string(ByteCount.text(size))), ("Reclaimable", .string(share)),
            ])
        }

        fileprivate var cells: [String] { [type, "\(count)", "\(active)", ByteCount.text(size), share] }
    }

    /// Each with what it takes, and the containers that use it.
    var images: [(image: Image, users: Int)]
    /// Of all images: layers that several have are there once.
    var imagesSize: UInt64
    var containers: [(container: Container, size: UInt64)]
    var volumes: [(name: VolumeName, size: UInt64, users: Int)]

    static func measure() throws -> DiskUsage {
        let (store, volumes, images) = (try Containers.store(), try Volumes.store(), try Images.store())
        let containers = store.list(complain: Output.note)
        return DiskUsage(
            images: try images.list().map { image in
                (image, containers.count { $0.configuration.imageID == image.id.description })
            },
            imagesSize: images.occupied,
            containers: containers.map { ($0, store.occupied($0)) },
            volumes: volumes.list().map {
                ($0, volumes.occupied($0), VolumeStore.users(of: $0, among: containers).count)
            })
    }

    var rows: [Row] {
        let used = images.filter { $0.users > 0 }
        let usedSize = min(imagesSize, used.reduce(0) { $0 + $1.image.size })
        let running = containers.filter(\.container.state.isRunning)
        let mounted = volumes.filter { $0.users > 0 }
        func sum(_ sizes: [UInt64]) -> UInt64 { sizes.reduce(0, +) }
        return [
            Row(
                type: "Images", count: images.count, active: used.count, size: imagesSize,
                reclaimable: imagesSize - usedSize),
            Row(
                type: "Containers", count: containers.count, active: running.count,
                size: sum(containers.map(\.size)),
                reclaimable: sum(containers.filter { !$0.container.state.isRunning }.map(\.size))),
            Row(
                type: "Local Volumes", count: volumes.count, active: mounted.count,
                size: sum(volumes.map(\.size)),
                reclaimable: sum(volumes.filter { $0.users == 0 }.map(\.size))),
        ]
    }

    static func table(_ rows: [Row]) -> String {
        Table.text([["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]] + rows.map(\.cells))
    }

    /// A table for each kind.
    func details(now: Timestamp) -> String {
        let names = ImageListCommand.rows(images.map(\.image), now: now, isWhole: false)
        let users = Dictionary(images.map { ($0.image.id.short, $0.users) }) { first, _ in first }
        let rows = ContainerRow.rows(containers.map(\.container), now: now, isWhole: false)
        return [
            "Images space usage:",
            Table.text(
                [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "CONTAINERS"]]
                    + names.map {
                        [$0.repository, $0.tag, $0.id, $0.age, $0.size, "\(users[$0.id] ?? 0)"]
                    }),
            "Containers space usage:",
            Table.text(
                [["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]]
                    + zip(rows, containers).map { row, each in
                        [
                            row.id, row.image, row.command,
                            "\(each.container.configuration.volumeMounts.count)", ByteCount.text(each.size),
                            row.age, row.status, row.name,
                        ]
                    }),
            "Local Volumes space usage:",
            Table.text(
                [["VOLUME NAME", "LINKS", "SIZE"]]
                    + volumes.map { [$0.name.text, "\($0.users)", ByteCount.text($0.size)] }),
        ].joined(separator: "\n\n")
    }
}
