# SPDX-License-Identifier: Apache-2.0
# Programs for guests that bring no libraries: guest-root/programs/<name>.c becomes
# $(BUILD)/guest-root/<name>, which `penumbra sandbox` puts into the guest's /bin.

BUILD ?= build
CLANG ?= clang

GUEST_PROGRAMS := $(patsubst guest-root/programs/%.c,$(BUILD)/guest-root/%,$(wildcard guest-root/programs/*.c))

.PHONY: guest-root
guest-root: $(GUEST_PROGRAMS)

$(BUILD)/guest-root/%: guest-root/programs/%.c
	@mkdir -p $(@D)
	@$(CLANG) --target=x86_64-linux-gnu -static -nostdlib -ffreestanding -fno-pic \
		-fno-stack-protector -fuse-ld=lld -O2 -Wall -Wextra -Werror $< -o $@
