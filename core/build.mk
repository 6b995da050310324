# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The core image, debug and release: $(BUILD)/core/{debug,release}/core.{elf,bin}, and the
# assembler offsets beside them. Included by the Makefile at the top.

CORE_SWIFT := $(sort $(wildcard core/Machine/*.swift core/Memory/*.swift core/VirtualCPU/*.swift \
	core/Personality/*.swift core/Personality/*/*.swift core/World/*.swift))
CORE_ASSEMBLY := $(wildcard core/World/Assembly/*.S)
CORE_HEADERS := $(wildcard interface/penumbra/*.h core/Shim/include/*.h) \
	interface/penumbra/module.modulemap core/Shim/include/module.modulemap
CORE_SCRIPT := core/World/Assembly/core.lds

# Why each: DESIGN's measurements, docs/core.md. No merging of what two personalities
# instantiate alike (it would call by pointer), no red zone, no SSE or x87 (checked by
# core-lint), no allocation, no position-independent code, retpolines, no jump tables.
CORE_SWIFT_FLAGS := -target x86_64-unknown-none-elf -enable-experimental-feature Embedded -wmo \
	-parse-as-library -O -g -warnings-as-errors -swift-version 6 -module-name PenumbraCore \
	-Xcc -mno-red-zone -Xcc -mno-mmx -Xcc -mno-sse -Xcc -fno-pic -Xcc -ffreestanding \
	-Xcc -mretpoline-external-thunk -Xllvm -min-jump-table-entries=1000 \
	-Xfrontend -disable-llvm-merge-functions-pass \
	-Xfrontend -function-sections -Xfrontend -disable-stack-protector -Xfrontend -no-allocations \
	-I interface/penumbra -I core/Shim/include -Xcc -Iinterface
CORE_ASFLAGS := -target x86_64-unknown-none-elf -g -I interface
CORE_LDFLAGS := --gc-sections -static -z max-page-size=4096 --build-id=sha1 --fatal-warnings

core_flags_debug := -D PENUMBRA_DEBUG
core_asflags_debug := -DPENUMBRA_DEBUG

define CORE_VARIANT
$$(BUILD)/core/$(1)/penumbra_offsets.h: interface/offsets.c $$(CORE_HEADERS)
	@mkdir -p $$(@D)
	@$$(CLANG) -S -O1 -ffreestanding -I interface $$< -o $$(@D)/offsets.s
	@sed -n 's/.*"->\([A-Za-z0-9_]*\) \$$$$*\(-*[0-9]*\)".*/#define \1 \2/p' $$(@D)/offsets.s > $$@

$$(BUILD)/core/$(1)/core.o: $$(CORE_SWIFT) $$(CORE_HEADERS) core/build.mk
	@mkdir -p $$(@D)
	@echo "  SWIFT   core ($(1))"
	@swiftc $$(CORE_SWIFT_FLAGS) $$(core_flags_$(1)) -c $$(CORE_SWIFT) -o $$@

$$(BUILD)/core/$(1)/%.o: core/World/Assembly/%.S $$(BUILD)/core/$(1)/penumbra_offsets.h $$(CORE_HEADERS)
	@$$(CLANG) $$(CORE_ASFLAGS) $$(core_asflags_$(1)) -I $$(BUILD)/core/$(1) -c $$< -o $$@

$$(BUILD)/core/$(1)/core.elf: $$(BUILD)/core/$(1)/core.o \
		$$(patsubst core/World/Assembly/%.S,$$(BUILD)/core/$(1)/%.o,$$(CORE_ASSEMBLY)) $$(CORE_SCRIPT)
	@$$(LLD) $$(CORE_LDFLAGS) -T $$(CORE_SCRIPT) $$(filter %.o,$$^) -o $$@

$$(BUILD)/core/$(1)/core.bin: $$(BUILD)/core/$(1)/core.elf
	@$$(OBJCOPY) -O binary $$< $$@

core-$(1): $$(BUILD)/core/$(1)/core.bin
.PHONY: core-$(1)
endef
$(eval $(call CORE_VARIANT,debug))
$(eval $(call CORE_VARIANT,release))
