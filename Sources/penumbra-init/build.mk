# SPDX-License-Identifier: Apache-2.0
# The agent of containers, $(BUILD)/penumbra-init: Embedded Swift and a static C library, since every
# container's start unpacks it into memory (0.8 MB; with Swift's whole runtime it has 6.9 MB). SwiftPM
# builds the same sources in the ordinary way, for unit tests.

INIT_BUILD := $(BUILD)/init
INIT_SYSTEM := $(addprefix Sources/PenumbraSystem/,Descriptor.swift Files.swift Process.swift \
	SignalDescriptor.swift TerminalSize.swift Termination.swift)
INIT_C := Sources/CInit/init.c Sources/CLinux/linux.c
INIT_HEADERS := $(wildcard Sources/EmbeddedGlibc/*.h Sources/CInit/include/* Sources/CLinux/include/*)
INIT_UNICODE := $(TOOLCHAIN)../lib/swift/embedded/x86_64-unknown-linux-gnu/libswiftUnicodeDataTables.a

INIT_SWIFT_FLAGS := -target x86_64-unknown-linux-gnu -enable-experimental-feature Embedded -wmo -Osize -g \
	-parse-as-library -warnings-as-errors -swift-version 6 -Xfrontend -function-sections \
	-I $(INIT_BUILD) -I Sources/EmbeddedGlibc -I Sources/CLinux/include -I Sources/CInit/include

# NAME SOURCES PREREQUISITES: a module, and its object.
define INIT_MODULE
$$(INIT_BUILD)/$(1).o: $(2) $(3) $$(INIT_HEADERS) Sources/penumbra-init/build.mk
	@mkdir -p $$(@D)
	@swiftc $$(INIT_SWIFT_FLAGS) -module-name $(subst -,_,$(1)) -emit-module \
		-emit-module-path $$(INIT_BUILD)/$(subst -,_,$(1)).swiftmodule -c $(2) -o $$@
endef
$(eval $(call INIT_MODULE,Glibc,$(wildcard Sources/EmbeddedGlibc/*.swift),))
$(eval $(call INIT_MODULE,PenumbraSystem,$(INIT_SYSTEM),$(INIT_BUILD)/Glibc.o))
$(eval $(call INIT_MODULE,PenumbraProtocol,$(wildcard Sources/PenumbraProtocol/*.swift),$(INIT_BUILD)/PenumbraSystem.o))
$(eval $(call INIT_MODULE,penumbra-init,$(wildcard Sources/penumbra-init/*.swift Sources/penumbra-init/*/*.swift),\
	$(INIT_BUILD)/PenumbraProtocol.o))

INIT_OBJECTS := $(addprefix $(INIT_BUILD)/,Glibc.o PenumbraSystem.o PenumbraProtocol.o penumbra-init.o)

$(BUILD)/penumbra-init: $(INIT_OBJECTS) $(INIT_C) $(INIT_HEADERS)
	@echo "  LINK    penumbra-init"
	@$(CLANG) --target=x86_64-linux-gnu -static -fuse-ld=lld -Wl,--gc-sections -ffunction-sections -O2 -Wall \
		-Wextra -Werror -I Sources/CInit/include -I Sources/CLinux/include $(INIT_C) $(INIT_OBJECTS) \
		$(INIT_UNICODE) -lm -o $(INIT_BUILD)/penumbra-init.elf
	@$(OBJCOPY) --strip-all $(INIT_BUILD)/penumbra-init.elf $@

.PHONY: agent
agent: $(BUILD)/penumbra-init
