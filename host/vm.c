// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM's memory. The module builds all page tables of slot 261 (the core never writes
 * them), hands guest RAM to the core frame by frame as it is asked for, and the core's
 * pool chunk by chunk up to the VM's limit. All of it is charged to the caller's cgroup.
 *
 * Guest RAM comes from sealed memfds, by page-cache index: no user mapping takes part, so
 * there is none to race with. A page keeps the reference taken here until the VM ends.
 */
#include <linux/file.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>
#include <uapi/linux/fcntl.h>
#include <asm/msr.h>
#include <asm/io.h>
#include <asm/tsc.h>

#include "compat.h"
#include "penumbra.h"

#define GFP_TABLE (GFP_KERNEL_ACCOUNT | __GFP_ZERO)
#define ENTRIES_PER_TABLE 512
#define FRAMES_PER_TABLE_PAGE (PAGE_SIZE / sizeof(u64))
#define FRAMES_PER_INFO_PAGE (PAGE_SIZE / PENUMBRA_FRAME_INFO_SIZE)
/* Frames that one populate request brings in around the one that was asked for. */
#define POPULATE_BATCH 32

atomic_long_t penumbra_vms, penumbra_vcpus;
static atomic64_t vms_made; /* since the module was loaded */
atomic_long_t penumbra_pinned_pages, penumbra_pool_pages, penumbra_table_pages;

static void count(long *own, atomic_long_t *total, long n)
{
	*own += n;
	atomic_long_add(n, total);
}

static u64 *new_table(struct penumbra_vm_host *vm)
{
	u64 *table = (u64 *)__get_free_page(GFP_TABLE);

	if (table)
		count(&vm->table_pages, &penumbra_table_pages, 1);
	return table;
}

static void free_table(struct penumbra_vm_host *vm, void *table)
{
	if (!table)
		return;
	free_page((unsigned long)table);
	count(&vm->table_pages, &penumbra_table_pages, -1);
}

/* What an entry that points to a lower table holds; rights are decided by the leaves. */
u64 penumbra_table_value(const void *table)
{
	return __sme_set(__pa(table)) | _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY;
}

static u64 *lower_table(struct penumbra_vm_host *vm, u64 *entry)
{
	u64 *table;

	if (*entry)
		return __va(*entry & PHYSICAL_PAGE_MASK & ~sme_me_mask);
	table = new_table(vm);
	if (table)
		WRITE_ONCE(*entry, penumbra_table_value(table));
	return table;
}

static int map_in_view(struct penumbra_vm_host *vm, u64 *third_level, u64 address, u64 value)
{
	u64 *table = third_level;
	int shift;

	for (shift = 30; shift > PAGE_SHIFT; shift -= 9) {
		table = lower_table(vm, &table[(address >> shift) & (ENTRIES_PER_TABLE - 1)]);
		if (!table)
			return -ENOMEM;
	}
	WRITE_ONCE(table[(address >> PAGE_SHIFT) & (ENTRIES_PER_TABLE - 1)], value);
	return 0;
}

int penumbra_vm_map(struct penumbra_vm_host *vm, u64 address, struct page *page,
		    enum penumbra_protection protection, enum penumbra_view view)
{
	u64 value = __sme_set(page_to_phys(page)) | _PAGE_PRESENT | _PAGE_ACCESSED;
	int error;

	if (protection == PENUMBRA_WRITE)
		value |= _PAGE_RW | _PAGE_DIRTY;
	if (protection != PENUMBRA_EXECUTE)
		value |= _PAGE_NX;
	error = map_in_view(vm, vm->full_table, address, value);
	if (!error && view == PENUMBRA_BOTH_VIEWS)
		error = map_in_view(vm, vm->entry_table, address, value);
	return error;
}

static void free_view(struct penumbra_vm_host *vm, u64 *table, int levels)
{
	int i;

	if (!table)
		return;
	for (i = 0; levels > 1 && i < ENTRIES_PER_TABLE; i++)
		if (table[i])
			free_view(vm, __va(table[i] & PHYSICAL_PAGE_MASK & ~sme_me_mask), levels - 1);
	free_table(vm, table);
}

/* The image's pages are the module's own read-only data, shared by all VMs. */
static int map_image(struct penumbra_vm_host *vm)
{
	const struct penumbra_image_header *image = penumbra_image();
	u64 size = image->entry_text_size + image->text_size + image->constants_size;
	u64 offset;
	int error = 0;

	for (offset = 0; offset < size && !error; offset += PAGE_SIZE) {
		bool entry_text = offset < image->entry_text_size;
		bool text = offset < image->entry_text_size + image->text_size;
		struct page *page = vmalloc_to_page(penumbra_core_image + offset);

		error = penumbra_vm_map(vm, PENUMBRA_CORE_IMAGE + offset, page,
					text ? PENUMBRA_EXECUTE : PENUMBRA_READ,
					entry_text ? PENUMBRA_BOTH_VIEWS : PENUMBRA_FULL_VIEW);
	}
	return error;
}

static int map_vm_page(struct penumbra_vm_host *vm)
{
	int i, error = 0;

	vm->page = alloc_pages_exact(PENUMBRA_VM_PAGES * PAGE_SIZE, GFP_TABLE);
	if (!vm->page)
		return -ENOMEM;
	for (i = 0; i < PENUMBRA_VM_PAGES && !error; i++)
		error = penumbra_vm_map(vm, PENUMBRA_CORE_VM + i * PAGE_SIZE,
					virt_to_page((u8 *)vm->page + i * PAGE_SIZE),
					PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
	for (i = 0; i < PENUMBRA_CORE_STATE_PAGES && !error; i++) {
		vm->state[i] = alloc_page(GFP_TABLE);
		if (!vm->state[i])
			return -ENOMEM;
		error = penumbra_vm_map(vm, PENUMBRA_CORE_STATE + i * PAGE_SIZE, vm->state[i],
					PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
	}
	return error;
}

static int make_frame_table(struct penumbra_vm_host *vm)
{
	u32 pages = DIV_ROUND_UP(vm->page->total_frames, FRAMES_PER_TABLE_PAGE);
	u32 i;
	int error = 0;

	vm->frame_info_count = DIV_ROUND_UP(vm->page->total_frames, FRAMES_PER_INFO_PAGE);
	vm->frame_info = kvcalloc(vm->frame_info_count, sizeof(*vm->frame_info), GFP_KERNEL_ACCOUNT);
	vm->frame_table = kvcalloc(pages, sizeof(*vm->frame_table), GFP_KERNEL_ACCOUNT);
	if (!vm->frame_info || !vm->frame_table)
		return -ENOMEM;
	for (i = 0; i < pages && !error; i++) {
		vm->frame_table[i] = new_table(vm);
		if (!vm->frame_table[i])
			return -ENOMEM;
		error = penumbra_vm_map(vm, PENUMBRA_CORE_FRAMES + (u64)i * PAGE_SIZE,
					virt_to_page(vm->frame_table[i]), PENUMBRA_READ,
					PENUMBRA_FULL_VIEW);
		cond_resched();
	}
	return error;
}

/* A root with the core's full view and no guest: what a vCPU runs on before it has one. */
static int make_core_root(struct penumbra_vm_host *vm)
{
	vm->core_root = new_table(vm);
	if (!vm->core_root)
		return -ENOMEM;
	vm->core_root[PENUMBRA_SLOT] = vm->page->slot_full;
	vm->page->core_root = __sme_set(__pa(vm->core_root));
	if (!(vm->page->flags & PENUMBRA_VM_LA57))
		return 0;
	vm->core_root_la57 = new_table(vm);
	if (!vm->core_root_la57)
		return -ENOMEM;
	vm->core_root_la57[ENTRIES_PER_TABLE - 1] = penumbra_table_value(vm->core_root);
	vm->page->core_root = __sme_set(__pa(vm->core_root_la57));
	return 0;
}

/* mul in [2^31, 2^32), as pvclock wants it: ns = (ticks << shift) * mul >> 32. */
static void set_clock(struct penumbra_clock *clock)
{
	u64 rate = (u64)tsc_khz * 1000, scaled = NSEC_PER_SEC;
	s32 shift = 0;

	while (rate > 2 * scaled) {
		rate >>= 1;
		shift--;
	}
	while (rate <= scaled) {
		rate <<= 1;
		shift++;
	}
	clock->mul = div64_u64(scaled << 32, rate);
	clock->shift = shift;
	clock->tsc_khz = tsc_khz;
	clock->tsc_base = rdtsc_ordered();
	clock->wall_ns = ktime_get_real_ns();
}

static void configure(struct penumbra_vm_host *vm, const struct penumbra_create_vm *args)
{
	struct penumbra_vm *page = vm->page;
	u64 *guest_view = vm->full_table;

	page->personality = args->personality;
	page->flags = penumbra_machine.vm_flags;
	if (args->flags & PENUMBRA_CREATE_RESTRICTED)
		page->flags |= PENUMBRA_VM_RESTRICTED;
	if (args->flags & PENUMBRA_CREATE_DEBUG)
		page->flags |= PENUMBRA_VM_DEBUG;
	page->ram_frames = args->ram_frames;
	page->total_frames = args->ram_frames + args->special_frames;
	page->pool_limit = args->pool_limit;
	page->nx = _PAGE_NX;
	page->slot_full = penumbra_table_value(vm->full_table);
	if (page->flags & PENUMBRA_VM_RESTRICTED)
		guest_view = vm->entry_table;
	page->slot_guest = penumbra_table_value(guest_view);
	set_clock(&page->clock);
	memset16(page->port_vcpu, PENUMBRA_NO_VCPU, PENUMBRA_MAX_PORTS);
}

static int make_pool(struct penumbra_vm_host *vm)
{
	u32 limit = vm->page->pool_limit;

	vm->pool = kvcalloc(limit, sizeof(*vm->pool), GFP_KERNEL_ACCOUNT);
	vm->pool_descriptors = kvcalloc(limit / PENUMBRA_POOL_CHUNK, sizeof(*vm->pool_descriptors),
					GFP_KERNEL_ACCOUNT);
	vm->pool_table = kvcalloc(DIV_ROUND_UP(limit, FRAMES_PER_TABLE_PAGE),
				  sizeof(*vm->pool_table), GFP_KERNEL_ACCOUNT);
	if (!vm->pool || !vm->pool_descriptors || !vm->pool_table)
		return -ENOMEM;
	return penumbra_vm_grow(vm);
}

struct penumbra_vm_host *penumbra_vm_create(const struct penumbra_create_vm *args)
{
	struct penumbra_vm_host *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int error = -ENOMEM;

	if (!vm)
		return ERR_PTR(-ENOMEM);
	vm->mm = current->mm;
	vm->number = atomic64_inc_return(&vms_made);
	mmgrab(vm->mm);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->event_lock);
	INIT_LIST_HEAD(&vm->events_to_guest);
	atomic_long_inc(&penumbra_vms);
	penumbra_watchdog_vm_created();

	vm->events_from_guest = kvcalloc(PENUMBRA_MAX_PORTS, sizeof(*vm->events_from_guest),
					 GFP_KERNEL_ACCOUNT);
	vm->full_table = new_table(vm);
	vm->entry_table = new_table(vm);
	if (!vm->events_from_guest || !vm->full_table || !vm->entry_table)
		goto fail;
	error = map_vm_page(vm);
	if (error)
		goto fail;
	configure(vm, args);
	error = map_image(vm);
	if (!error)
		error = make_core_root(vm);
	if (!error)
		error = make_frame_table(vm);
	if (!error)
		error = make_pool(vm);
	if (!error)
		return vm;
fail:
	penumbra_vm_destroy(vm);
	return ERR_PTR(error);
}

static void free_guest_memory(struct penumbra_vm_host *vm)
{
	u32 frame, total = vm->page ? vm->page->total_frames : 0;
	u32 pages = DIV_ROUND_UP(total, FRAMES_PER_TABLE_PAGE);

	for (frame = 0; vm->frame_table && frame < total; frame++) {
		u64 *table = vm->frame_table[frame / FRAMES_PER_TABLE_PAGE];
		u64 entry = table ? table[frame % FRAMES_PER_TABLE_PAGE] : 0;

		if (entry & PENUMBRA_FRAME_PRESENT) {
			struct page *page = pfn_to_page((entry & PENUMBRA_FRAME_ADDRESS_MASK &
							 ~sme_me_mask) >> PAGE_SHIFT);

			set_page_dirty_lock(page);
			put_page(page);
			count(&vm->pinned_pages, &penumbra_pinned_pages, -1);
		}
		if (!(frame % 1024))
			cond_resched();
	}
	for (frame = 0; vm->frame_table && frame < pages; frame++)
		free_table(vm, vm->frame_table[frame]);
	for (frame = 0; vm->frame_info && frame < vm->frame_info_count; frame++)
		if (vm->frame_info[frame])
			free_table(vm, page_address(vm->frame_info[frame]));
	kvfree(vm->frame_table);
	kvfree(vm->frame_info);
	while (vm->region_count) {
		struct file *file = vm->regions[--vm->region_count].file;

		mapping_unmap_writable(file->f_mapping);
		fput(file);
	}
}

static void free_pool(struct penumbra_vm_host *vm)
{
	u32 limit = vm->page ? vm->page->pool_limit : 0;
	u32 i;

	for (i = 0; vm->pool && i < limit && vm->pool[i]; i++) {
		__free_page(vm->pool[i]);
		count(&vm->pool_pages, &penumbra_pool_pages, -1);
	}
	for (i = 0; vm->pool_descriptors && i < limit / PENUMBRA_POOL_CHUNK; i++)
		if (vm->pool_descriptors[i])
			free_table(vm, page_address(vm->pool_descriptors[i]));
	for (i = 0; vm->pool_table && i < DIV_ROUND_UP(limit, FRAMES_PER_TABLE_PAGE); i++)
		free_table(vm, vm->pool_table[i]);
	kvfree(vm->pool);
	kvfree(vm->pool_descriptors);
	kvfree(vm->pool_table);
}

/*
 * Nobody runs a vCPU any more. Also takes a VM whose creation stopped half-way. Eventfds go
 * first: one that is signalled looks for the vCPU that its port is bound to.
 */
void penumbra_vm_destroy(struct penumbra_vm_host *vm)
{
	int i;

	if (vm->events_from_guest)
		penumbra_eventfd_release(vm);
	kvfree(vm->events_from_guest);
	for (i = 0; i < PENUMBRA_MAX_VCPUS; i++)
		if (vm->vcpu[i])
			penumbra_vcpu_destroy(vm->vcpu[i]);
	free_guest_memory(vm);
	free_pool(vm);
	free_table(vm, vm->core_root);
	free_table(vm, vm->core_root_la57);
	free_view(vm, vm->full_table, 3);
	free_view(vm, vm->entry_table, 3);
	for (i = 0; i < PENUMBRA_CORE_STATE_PAGES; i++)
		if (vm->state[i])
			__free_page(vm->state[i]);
	if (vm->page)
		free_pages_exact(vm->page, PENUMBRA_VM_PAGES * PAGE_SIZE);
	mmdrop(vm->mm);
	kfree(vm);
	atomic_long_dec(&penumbra_vms);
}

static bool overlaps(const struct penumbra_vm_region *region, u32 first, u32 frames)
{
	return first < region->first_frame + region->frame_count &&
	       region->first_frame < first + frames;
}

/*
 * The memfd may not shrink under us: what the core maps must stay there. And it may not be
 * sealed against writing, now or later: the guest writes to it.
 */
static int check_backing(struct file *file, u64 offset, u64 bytes)
{
	struct inode *inode = file_inode(file);
	unsigned int seals;

	if (!shmem_mapping(file->f_mapping) || !(file->f_mode & FMODE_WRITE))
		return -EINVAL;
	seals = READ_ONCE(SHMEM_I(inode)->seals);
	if (!(seals & F_SEAL_SHRINK) || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if (offset & ~PAGE_MASK || offset > i_size_read(inode) || bytes > i_size_read(inode) - offset)
		return -EINVAL;
	return 0;
}

int penumbra_vm_add_region(struct penumbra_vm_host *vm, const struct penumbra_region *args)
{
	struct penumbra_vm_region *region;
	u64 bytes = (u64)args->frame_count << PAGE_SHIFT;
	unsigned int i;
	struct file *file;
	int error;

	if (args->flags & ~PENUMBRA_REGION_READONLY || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	if (!args->frame_count || args->first_frame >= vm->page->total_frames ||
	    args->frame_count > vm->page->total_frames - args->first_frame)
		return -EINVAL;
	if (vm->region_count == PENUMBRA_MAX_REGIONS)
		return -ENOSPC;
	for (i = 0; i < vm->region_count; i++)
		if (overlaps(&vm->regions[i], args->first_frame, args->frame_count))
			return -EEXIST;
	file = fget(args->fd);
	if (!file)
		return -EBADF;
	error = check_backing(file, args->offset, bytes);
	if (!error) /* as a shared writable mapping would: F_SEAL_WRITE fails from here on */
		error = mapping_map_writable(file->f_mapping);
	if (error) {
		fput(file);
		return error;
	}
	region = &vm->regions[vm->region_count++];
	region->file = file;
	region->first_page = args->offset >> PAGE_SHIFT;
	region->first_frame = args->first_frame;
	region->frame_count = args->frame_count;
	region->readonly = args->flags & PENUMBRA_REGION_READONLY;
	return 0;
}

static const struct penumbra_vm_region *region_of(struct penumbra_vm_host *vm, u32 frame)
{
	unsigned int i;

	for (i = 0; i < vm->region_count; i++)
		if (overlaps(&vm->regions[i], frame, 1))
			return &vm->regions[i];
	return NULL;
}

static int ensure_frame_info(struct penumbra_vm_host *vm, u32 frame)
{
	u32 index = frame / FRAMES_PER_INFO_PAGE;
	struct page *page;
	u64 *memory;

	if (vm->frame_info[index])
		return 0;
	memory = new_table(vm);
	if (!memory)
		return -ENOMEM;
	page = virt_to_page(memory);
	vm->frame_info[index] = page;
	return penumbra_vm_map(vm, PENUMBRA_CORE_FRAMEINFO + (u64)index * PAGE_SIZE, page,
			       PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
}

/* Order: window and frame info first, then the frame table entry that announces them. */
static int populate_frame(struct penumbra_vm_host *vm, u32 frame)
{
	u64 *entry = &vm->frame_table[frame / FRAMES_PER_TABLE_PAGE][frame % FRAMES_PER_TABLE_PAGE];
	const struct penumbra_vm_region *region;
	struct page *page;
	u64 flags = PENUMBRA_FRAME_PRESENT;
	int error;

	if (*entry)
		return 0;
	region = region_of(vm, frame);
	if (!region)
		return -EFAULT;
	page = shmem_read_mapping_page_gfp(region->file->f_mapping,
					   region->first_page + (frame - region->first_frame),
					   mapping_gfp_mask(region->file->f_mapping));
	if (IS_ERR(page))
		return PTR_ERR(page);
	error = ensure_frame_info(vm, frame);
	if (!error)
		error = penumbra_vm_map(vm, PENUMBRA_CORE_RAM + ((u64)frame << PAGE_SHIFT), page,
					PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
	if (error) {
		put_page(page);
		return error;
	}
	if (region->readonly)
		flags |= PENUMBRA_FRAME_READONLY;
	count(&vm->pinned_pages, &penumbra_pinned_pages, 1);
	smp_store_release(entry, __sme_set(page_to_phys(page)) | flags);
	return 0;
}

/*
 * The core asks for frames first .. first+count-1. Brings in the batch around the first;
 * the core asks again for what is still missing. Only what it asked for must succeed.
 */
int penumbra_vm_populate(struct penumbra_vm_host *vm, u64 first, u64 count)
{
	u64 start, end;
	int error;

	if (!count || first >= vm->page->total_frames)
		return -EFAULT;
	mutex_lock(&vm->lock);
	error = populate_frame(vm, first);
	start = first & ~(u64)(POPULATE_BATCH - 1);
	end = min_t(u64, start + POPULATE_BATCH, vm->page->total_frames);
	for (; !error && start < end; start++)
		if (region_of(vm, start) && populate_frame(vm, start))
			break;
	mutex_unlock(&vm->lock);
	return error;
}

static int map_pool_page(struct penumbra_vm_host *vm, u32 index)
{
	u32 table = index / FRAMES_PER_TABLE_PAGE;
	int error;

	if (!vm->pool_table[table]) {
		vm->pool_table[table] = new_table(vm);
		if (!vm->pool_table[table])
			return -ENOMEM;
		error = penumbra_vm_map(vm, PENUMBRA_CORE_POOLTABLE + (u64)table * PAGE_SIZE,
					virt_to_page(vm->pool_table[table]), PENUMBRA_READ,
					PENUMBRA_FULL_VIEW);
		if (error)
			return error;
	}
	if (!vm->pool[index]) {
		vm->pool[index] = alloc_page(GFP_TABLE);
		if (!vm->pool[index])
			return -ENOMEM;
		count(&vm->pool_pages, &penumbra_pool_pages, 1);
	}
	error = penumbra_vm_map(vm, PENUMBRA_CORE_POOL + (u64)index * PAGE_SIZE, vm->pool[index],
				PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
	if (!error)
		vm->pool_table[table][index % FRAMES_PER_TABLE_PAGE] =
			__sme_set(page_to_phys(vm->pool[index])) | PENUMBRA_FRAME_PRESENT;
	return error;
}

/* One more chunk of pool pages, with the page of descriptors that goes with it. */
int penumbra_vm_grow(struct penumbra_vm_host *vm)
{
	u32 first, chunk, i;
	u64 *descriptors;
	int error = 0;

	BUILD_BUG_ON(PENUMBRA_POOL_CHUNK * PENUMBRA_SHADOW_DESCRIPTOR_SIZE != PAGE_SIZE);
	mutex_lock(&vm->lock);
	first = vm->page->pool_pages;
	chunk = first / PENUMBRA_POOL_CHUNK;
	if (first + PENUMBRA_POOL_CHUNK > vm->page->pool_limit) {
		error = -ENOSPC;
		goto out;
	}
	if (!vm->pool_descriptors[chunk]) {
		descriptors = new_table(vm);
		if (!descriptors) {
			error = -ENOMEM;
			goto out;
		}
		vm->pool_descriptors[chunk] = virt_to_page(descriptors);
	}
	error = penumbra_vm_map(vm, PENUMBRA_CORE_SHADOWS + (u64)chunk * PAGE_SIZE,
				vm->pool_descriptors[chunk], PENUMBRA_WRITE, PENUMBRA_FULL_VIEW);
	for (i = 0; !error && i < PENUMBRA_POOL_CHUNK; i++)
		error = map_pool_page(vm, first + i);
	if (!error)
		smp_store_release(&vm->page->pool_pages, first + PENUMBRA_POOL_CHUNK);
out:
	mutex_unlock(&vm->lock);
	return error;
}

/* Ends the VM: every vCPU leaves at its next exit. The first reason stays. */
void penumbra_vm_kill(struct penumbra_vm_host *vm, u32 reason)
{
	cmpxchg(&vm->page->dead, 0, reason);
	penumbra_vm_kick_all(vm);
}

void penumbra_vm_kick_all(struct penumbra_vm_host *vm)
{
	u32 id;

	for (id = 0; id < PENUMBRA_MAX_VCPUS; id++) {
		struct penumbra_vcpu_host *vcpu = READ_ONCE(vm->vcpu[id]);

		if (vcpu)
			penumbra_vcpu_kick(vcpu);
	}
}
