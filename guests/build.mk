# SPDX-License-Identifier: Apache-2.0
# Micro-guests: guests/<name>.swift, with guests/<name>.S beside it where that is there.
# `make guests` builds them all into $(BUILD)/guests/<name>.elf.

BUILD ?= build
SWIFTC ?= swiftc
CLANG ?= clang
LLD ?= ld.lld

GUEST_BUILD := $(BUILD)/guests
GUEST_KIT := guests/kit
GUEST_KIT_SWIFT := $(wildcard $(GUEST_KIT)/*.swift)
GUEST_HEADERS := $(wildcard $(GUEST_KIT)/*.h interface/penumbra/*.h) $(GUEST_KIT)/module.modulemap
GUEST_NAMES := $(basename $(notdir $(wildcard guests/*.swift)))
GUEST_ELFS := $(GUEST_NAMES:%=$(GUEST_BUILD)/%.elf)
GUEST_KIT_OBJECTS := $(addprefix $(GUEST_BUILD)/kit/,start.o memory.o probes.o fpu.o data.o)

# No SSE in compiled code: what the FPU registers hold is the tests' own business.
GUEST_CFLAGS := --target=x86_64-unknown-none-elf -Iinterface -I$(GUEST_KIT) -ffreestanding -fno-pic \
	-mno-red-zone -mno-mmx -mno-sse -fno-stack-protector -ffunction-sections -fdata-sections \
	-O2 -Wall -Wextra -Werror
GUEST_SWIFTFLAGS := -target x86_64-unknown-none-elf -enable-experimental-feature Embedded -wmo \
	-parse-as-library -Osize -warnings-as-errors -module-name Guest -I $(GUEST_KIT) \
	-Xcc -Iinterface -Xcc -ffreestanding -Xcc -fno-pic -Xcc -mno-red-zone -Xcc -mno-mmx \
	-Xcc -mno-sse -Xfrontend -function-sections -Xfrontend -disable-stack-protector \
	-Xfrontend -no-allocations

.PHONY: guests
guests: $(GUEST_ELFS)

$(GUEST_BUILD)/kit/%.o: $(GUEST_KIT)/%.S $(GUEST_HEADERS)
	@mkdir -p $(@D)
	@$(CLANG) $(GUEST_CFLAGS) -c $< -o $@

$(GUEST_BUILD)/kit/%.o: $(GUEST_KIT)/%.c $(GUEST_HEADERS)
	@mkdir -p $(@D)
	@$(CLANG) $(GUEST_CFLAGS) -c $< -o $@

$(GUEST_BUILD)/%.asm.o: guests/%.S $(GUEST_HEADERS)
	@mkdir -p $(@D)
	@$(CLANG) $(GUEST_CFLAGS) -c $< -o $@

$(GUEST_BUILD)/%.o: guests/%.swift $(GUEST_KIT_SWIFT) $(GUEST_HEADERS)
	@mkdir -p $(@D)
	@$(SWIFTC) $(GUEST_SWIFTFLAGS) -c $< $(GUEST_KIT_SWIFT) -o $@

# A guest with an assembly half links that too.
$(foreach asm,$(wildcard guests/*.S),$(eval \
	$(GUEST_BUILD)/$(basename $(notdir $(asm))).elf: $(GUEST_BUILD)/$(basename $(notdir $(asm))).asm.o))

$(GUEST_BUILD)/%.elf: $(GUEST_BUILD)/%.o $(GUEST_KIT_OBJECTS) $(GUEST_KIT)/guest.ld
	@$(LLD) --gc-sections -static -z max-page-size=4096 -T $(GUEST_KIT)/guest.ld \
		$(filter %.o,$^) -o $@

# Objects are kept: otherwise make takes them for intermediate files and deletes them.
.SECONDARY: $(GUEST_KIT_OBJECTS) $(GUEST_NAMES:%=$(GUEST_BUILD)/%.o) \
	$(patsubst guests/%.S,$(GUEST_BUILD)/%.asm.o,$(wildcard guests/*.S))

# Kernels for Xen PV: guests/xenpv/<name>.swift become $(BUILD)/guests/xenpv/<name>.elf.
XENPV_KIT := guests/xenpv/kit
XENPV_KIT_SWIFT := $(wildcard $(XENPV_KIT)/*.swift)
XENPV_NAMES := $(basename $(notdir $(wildcard guests/xenpv/*.swift)))
XENPV_HEADERS := $(GUEST_HEADERS) $(wildcard $(XENPV_KIT)/*.h) $(XENPV_KIT)/module.modulemap

guests: $(XENPV_NAMES:%=$(GUEST_BUILD)/xenpv/%.elf)

$(GUEST_BUILD)/xenpv/start.o: $(XENPV_KIT)/start.S
	@mkdir -p $(@D)
	@$(CLANG) $(GUEST_CFLAGS) -c $< -o $@

$(GUEST_BUILD)/xenpv/%.o: guests/xenpv/%.swift $(XENPV_KIT_SWIFT) $(XENPV_HEADERS)
	@mkdir -p $(@D)
	@$(SWIFTC) $(GUEST_SWIFTFLAGS) -I $(XENPV_KIT) -c $< $(XENPV_KIT_SWIFT) -o $@

$(GUEST_BUILD)/xenpv/%.asm.o: guests/xenpv/%.S $(XENPV_HEADERS)
	@mkdir -p $(@D)
	@$(CLANG) $(GUEST_CFLAGS) -I$(XENPV_KIT) -c $< -o $@

$(foreach asm,$(wildcard guests/xenpv/*.S),$(eval \
	$(GUEST_BUILD)/xenpv/$(basename $(notdir $(asm))).elf: \
		$(GUEST_BUILD)/xenpv/$(basename $(notdir $(asm))).asm.o))

$(GUEST_BUILD)/xenpv/%.elf: $(GUEST_BUILD)/xenpv/%.o $(GUEST_BUILD)/xenpv/start.o $(GUEST_BUILD)/kit/memory.o $(XENPV_KIT)/kernel.ld
	@$(LLD) --gc-sections -static -z max-page-size=4096 -T $(XENPV_KIT)/kernel.ld $(filter %.o,$^) -o $@

.SECONDARY: $(GUEST_BUILD)/xenpv/start.o $(XENPV_NAMES:%=$(GUEST_BUILD)/xenpv/%.o) \
	$(patsubst guests/xenpv/%.S,$(GUEST_BUILD)/xenpv/%.asm.o,$(wildcard guests/xenpv/*.S))
