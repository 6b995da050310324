# SPDX-License-Identifier: Apache-2.0
#
#   make run       build everything, boot the machine, run the main job in it
#   make test      every test that needs no hours: host-only, lint, guests in the machine
#   make test-full those at full length, on every pair of host and guest, and the stress tests
#   make bench     the figures that docs/performance.md quotes
#
# `make help` lists the rest. Nothing here needs more than a Debian 12 with the Swift
# toolchain in PATH; `make setup` installs the packages of tools/packages.txt.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
BUILD ?= build
# The Swift toolchain brings its own clang, lld and binary tools.
TOOLCHAIN := $(dir $(realpath $(shell command -v swiftc)))
CLANG := $(TOOLCHAIN)clang
LLD := $(TOOLCHAIN)ld.lld
OBJCOPY := $(TOOLCHAIN)llvm-objcopy
KERNELS := 6.1 6.1-cloud 6.12
SWIFT_BUILD := swift build -c release -Xswiftc -static-stdlib --scratch-path .build-release
PENUMBRA := $(BUILD)/penumbra
# Machines that the project's own targets start are this checkout's, apart from the user's.
# Sockets live there, whose paths may have 107 bytes: so not below the checkout.
export PENUMBRA_STATE_DIR ?= /tmp/penumbra-$(shell id -u)-$(shell echo $(CURDIR) | cksum | cut -d' ' -f1)

help:
	@echo "run test test-full bench | setup build format lint clean install uninstall | test-host test-guests test-linux test-real test-stress soak"

include core/build.mk
include guests/build.mk
include guest-root/build.mk
include Sources/penumbra-init/build.mk

# ---- setup ----

STAMP := .build-cache/setup-done

setup: $(STAMP)

$(STAMP): tools/packages.txt tools/fetch-packages
	@tools/setup
	@mkdir -p $(@D) && touch $@

# The packages of host kernels: fetch-packages is quick when they are there.
kernels: $(STAMP)
	@tools/fetch-packages

# ---- build ----

build: $(PENUMBRA) modules guest-root agent
	@$(MAKE) --no-print-directory -j$(shell nproc) guests

$(PENUMBRA): cli
.PHONY: cli
cli: $(STAMP)
	@echo "  SWIFT   user space (release)"
	@$(SWIFT_BUILD) --product penumbra 2>&1 | tools/quiet-build
	@mkdir -p $(BUILD) && cmp -s .build-release/release/penumbra $(PENUMBRA) || \
		cp --remove-destination .build-release/release/penumbra $(PENUMBRA)

# penumbra.ko for each host kernel, with the release core and with the debug core.
MODULES := $(foreach kernel,$(KERNELS),module-release-$(kernel) module-debug-$(kernel))
modules: $(MODULES)

define MODULE
module-$(1)-$(2): kernels core-$(1)
	@echo "  KBUILD  penumbra.ko for $(2) ($(1) core)"
	@$$(MAKE) --no-print-directory -s -C host KDIR=$$$$(tools/kernel-headers $(2)) \
		BUILD=$(CURDIR)/$(BUILD)/core/$(1) OUT=$(CURDIR)/$(BUILD)/module/$(1)/$(2) >$(BUILD)/module-$(1)-$(2).log 2>&1 \
		|| { cat $(BUILD)/module-$(1)-$(2).log; exit 1; }
	@! grep -i "warning" $(BUILD)/module-$(1)-$(2).log
.PHONY: module-$(1)-$(2)
endef
$(foreach kernel,$(KERNELS),$(eval $(call MODULE,release,$(kernel))) $(eval $(call MODULE,debug,$(kernel))))

# ---- run ----

run: build
	@tools/run

# ---- test ----

test: build test-host lint test-guests test-linux test-stress-short

# Hours: every host with every Linux guest, stress-ng for minutes, stress at full length.
test-full: build test-host lint test-guests
	@PENUMBRA_STRESS=1 $(MAKE) --no-print-directory test-linux test-stress

# The core's own sources on Linux, the VMM, the machine, the lint: seconds, no machine.
test-host: $(STAMP) kernels agent
	@echo "==> host-only tests"
	@swift test -c release -Xswiftc -enable-testing --scratch-path .build-test $(SWIFT_TEST_FLAGS) \
		--skip PenumbraGuestTests --skip PenumbraLinuxTests --skip PenumbraStressTests 2>&1 | tools/quiet-build

# Micro-guests in the machine, on every host kernel, and, on a CPU that they leave idle, in Bochs.
test-guests: build
	@echo "==> micro-guests in the machine"
	@swift test -c release -Xswiftc -enable-testing --scratch-path .build-test \
		--filter PenumbraGuestTests --filter StressTests/processContextIdentifiers 2>&1 | tools/quiet-build

# Debian's kernels in VMs: three pairs of host and guest, or (PENUMBRA_STRESS=1) all.
test-linux: build
	@echo "==> Linux guests in the machine"
	@swift test -c release -Xswiftc -enable-testing --scratch-path .build-test --filter PenumbraLinuxTests \
		2>&1 | tools/quiet-build

# 300 boots, 100 kills, and stress-ng in a guest for minutes.
soak: build
	@PENUMBRA_STRESS=1 swift test -c release -Xswiftc -enable-testing --scratch-path .build-test \
		--filter 'LinuxTests/(restarts|soak)' 2>&1 | tools/quiet-build

# Endless guests against interrupts, NMIs, machine checks, CPU hotplug, SIGKILL and hostile calls: some
# minutes; at full length, with all guests in Bochs, hours; see docs/testing.md.
test-stress-short: build
	@echo "==> hosts under stress"
	@swift test -c release -Xswiftc -enable-testing --scratch-path .build-test \
		--filter PenumbraStressTests --skip StressTests/processContextIdentifiers 2>&1 | tools/quiet-build

test-stress: build
	@PENUMBRA_STRESS=1 swift test -c release -Xswiftc -enable-testing --scratch-path .build-test \
		--filter PenumbraStressTests 2>&1 | tools/quiet-build

# Real programs in containers; ONLY='redis nginx' for some. Half an hour.
test-real: build
	@tools/test-real $(ONLY)

bench: build
	@tools/bench
	@tools/bench-linux --counters-per-op --start-and-memory
	@tools/bench-containers

# ---- style ----

SWIFT_SOURCES := core guests Sources Tests tools Package.swift

format:
	@swift format --in-place --recursive --parallel $(SWIFT_SOURCES)

lint: $(STAMP) core-release core-debug
	@echo "==> lint"
	@swift format lint --strict --recursive --parallel $(SWIFT_SOURCES)
	@tools/check-tree
	@swift build -c release --scratch-path .build-test --product core-lint 2>&1 | tools/quiet-build
	@for variant in release debug; do .build-test/release/core-lint \
		--allow core/lint.allow $(BUILD)/core/$$variant/core.elf || exit 1; done

# ---- a real host ----

install: $(PENUMBRA) core-release guest-root agent
	@tools/install $(INSTALL_FLAGS)

uninstall:
	@tools/install --uninstall

clean:
	rm -rf $(BUILD) .build-release .build-test

.PHONY: help setup kernels build modules run test test-full test-host test-guests test-linux \
	test-real test-stress-short test-stress soak bench format lint install uninstall clean
.DEFAULT_GOAL := help
