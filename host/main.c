// SPDX-License-Identifier: GPL-2.0-only
/*
 * penumbra.ko: /dev/penumbra. Every argument is taken as hostile: sizes and ranges are
 * checked here or where they are used, unknown flags and reserved fields are refused, and
 * a VM serves only the process that created it.
 */
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/suspend.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "penumbra.h"

static const struct file_operations vcpu_operations;

static bool all_zero(const u64 *words, size_t n)
{
	return !memchr_inv(words, 0, n * sizeof(*words));
}

/* ---- vCPU ---- */

static long vcpu_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct penumbra_vcpu_host *vcpu = file->private_data;

	if (vcpu->vm->mm != current->mm)
		return -EPERM;
	if (request != PENUMBRA_RUN)
		return -ENOTTY;
	return argument ? -EINVAL : penumbra_vcpu_run(vcpu);
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct penumbra_vcpu_host *vcpu = file->private_data;

	if (vcpu->vm->mm != current->mm)
		return -EPERM;
	if (vma->vm_pgoff || vma->vm_end - vma->vm_start != PAGE_SIZE ||
	    vma->vm_flags & VM_EXEC || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	compat_vm_flags_clear(vma, VM_MAYEXEC);
	compat_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP);
	return vm_insert_page(vma, vma->vm_start, virt_to_page(vcpu->run));
}

/* The VM's file goes with the last of its vCPUs' files. */
static int vcpu_release(struct inode *inode, struct file *file)
{
	struct penumbra_vcpu_host *vcpu = file->private_data;
	struct penumbra_vm_host *vm = vcpu->vm;
	struct file *vm_file = vcpu->vm_file;

	penumbra_vm_kill(vm, PENUMBRA_CRASH_KILLED);
	fput(vm_file);
	return 0;
}

static const struct file_operations vcpu_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
};

/* ---- VM ---- */

static int create_vcpu(struct file *vm_file, struct penumbra_vm_host *vm, void __user *argument)
{
	struct penumbra_create_vcpu args;
	struct penumbra_vcpu_host *vcpu;
	struct file *file;
	int fd;

	if (copy_from_user(&args, argument, sizeof(args)))
		return -EFAULT;
	if (args.reserved0 || !all_zero(args.reserved, ARRAY_SIZE(args.reserved)))
		return -EINVAL;
	if (args.id >= PENUMBRA_MAX_VCPUS || args.id != vm->page->vcpu_count)
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	vcpu = penumbra_vcpu_create(vm, &args);
	if (IS_ERR(vcpu)) {
		put_unused_fd(fd);
		return PTR_ERR(vcpu);
	}
	file = anon_inode_getfile("penumbra-vcpu", &vcpu_operations, vcpu, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		penumbra_vcpu_destroy(vcpu);
		return PTR_ERR(file);
	}
	vcpu->vm_file = get_file(vm_file);
	WRITE_ONCE(vm->vcpu[args.id], vcpu);
	smp_store_release(&vm->page->vcpu_count, args.id + 1);
	fd_install(fd, file);
	return fd;
}

static int get_counters(struct penumbra_vm_host *vm, void __user *argument)
{
	struct penumbra_counters counters = {
		.pinned_pages = vm->pinned_pages,
		.pool_pages = vm->pool_pages,
		.table_pages = vm->table_pages,
	};
	u32 id, i;

	for (id = 0; id < vm->page->vcpu_count; id++)
		for (i = 0; i < PENUMBRA_COUNTER_COUNT; i++)
			counters.counter[i] += READ_ONCE(vm->vcpu[id]->page->counter[i]);
	return copy_to_user(argument, &counters, sizeof(counters)) ? -EFAULT : 0;
}

static int add_region(struct penumbra_vm_host *vm, void __user *argument)
{
	struct penumbra_region args;

	if (copy_from_user(&args, argument, sizeof(args)))
		return -EFAULT;
	return penumbra_vm_add_region(vm, &args);
}

static int set_eventfd(struct penumbra_vm_host *vm, void __user *argument)
{
	struct penumbra_eventfd args;

	if (copy_from_user(&args, argument, sizeof(args)))
		return -EFAULT;
	return penumbra_eventfd_set(vm, &args);
}

static long vm_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct penumbra_vm_host *vm = file->private_data;
	void __user *pointer = (void __user *)argument;
	long result;

	if (vm->mm != current->mm)
		return -EPERM;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	switch (request) {
	case PENUMBRA_ADD_REGION:
		result = add_region(vm, pointer);
		break;
	case PENUMBRA_CREATE_VCPU:
		result = create_vcpu(file, vm, pointer);
		break;
	case PENUMBRA_SET_EVENTFD:
		result = set_eventfd(vm, pointer);
		break;
	case PENUMBRA_POST:
		result = penumbra_post(vm, argument);
		break;
	case PENUMBRA_GET_COUNTERS:
		result = get_counters(vm, pointer);
		break;
	case PENUMBRA_KILL:
		result = argument ? -EINVAL : 0;
		if (!result)
			penumbra_vm_kill(vm, PENUMBRA_CRASH_KILLED);
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&vm->lock);
	return result;
}

/* vCPU files hold the VM file, so nobody runs any more. */
static int vm_release(struct inode *inode, struct file *file)
{
	penumbra_vm_destroy(file->private_data);
	return 0;
}

static const struct file_operations vm_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.release = vm_release,
};

/* ---- the device ---- */

static bool image_is_debug(void)
{
	return penumbra_image()->flags & PENUMBRA_IMAGE_DEBUG;
}

static int check_create_vm(const struct penumbra_create_vm *args)
{
	if (args->version != PENUMBRA_INTERFACE_VERSION)
		return -EPROTO;
	if (args->flags & ~(PENUMBRA_CREATE_RESTRICTED | PENUMBRA_CREATE_DEBUG) ||
	    !all_zero(args->reserved, ARRAY_SIZE(args->reserved)))
		return -EINVAL;
	if (args->flags & PENUMBRA_CREATE_DEBUG && !image_is_debug())
		return -EOPNOTSUPP;
	if (args->personality != PENUMBRA_PERSONALITY_TEST &&
	    args->personality != PENUMBRA_PERSONALITY_XEN_PV)
		return -EINVAL;
	if (!args->ram_frames || args->ram_frames > PENUMBRA_MAX_FRAMES ||
	    args->special_frames > PENUMBRA_MAX_SPECIAL_FRAMES ||
	    args->special_frames > PENUMBRA_MAX_FRAMES - args->ram_frames)
		return -EINVAL;
	if (args->pool_limit < 64 || args->pool_limit > PENUMBRA_MAX_POOL_PAGES ||
	    args->pool_limit % PENUMBRA_POOL_CHUNK)
		return -EINVAL;
	return 0;
}

static int create_vm(void __user *argument)
{
	struct penumbra_create_vm args;
	struct penumbra_vm_host *vm;
	int fd;

	if (copy_from_user(&args, argument, sizeof(args)))
		return -EFAULT;
	fd = check_create_vm(&args);
	if (fd)
		return fd;
	vm = penumbra_vm_create(&args);
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	fd = anon_inode_getfd("penumbra-vm", &vm_operations, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		penumbra_vm_destroy(vm);
	return fd;
}

static int get_info(void __user *argument)
{
	const struct penumbra_image_header *image = penumbra_image();
	struct penumbra_info info = {
		.version = PENUMBRA_INTERFACE_VERSION,
		.features = penumbra_machine.features,
		.max_vcpus = PENUMBRA_MAX_VCPUS,
		.vms = atomic_long_read(&penumbra_vms),
		.vcpus = atomic_long_read(&penumbra_vcpus),
		.pinned_pages = atomic_long_read(&penumbra_pinned_pages),
		.pool_pages = atomic_long_read(&penumbra_pool_pages),
		.table_pages = atomic_long_read(&penumbra_table_pages),
		.cpu_facts = penumbra_machine.cpu_facts,
		.barriers = penumbra_machine.barriers,
	};

	if (image_is_debug())
		info.features |= PENUMBRA_FEATURE_DEBUG_CORE;
	memcpy(info.build_id, penumbra_core_image + (image->build_id - PENUMBRA_CORE_IMAGE),
	       sizeof(info.build_id));
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static long device_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	switch (request) {
	case PENUMBRA_GET_INFO:
		return get_info((void __user *)argument);
	case PENUMBRA_CREATE_VM:
		return create_vm((void __user *)argument);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "penumbra",
	.fops = &device_operations,
	.mode = 0660,
};

/* Guests do not survive a suspend of the machine: refuse it while any lives. */
static int power_event(struct notifier_block *block, unsigned long event, void *data)
{
	if (event != PM_SUSPEND_PREPARE && event != PM_HIBERNATION_PREPARE)
		return NOTIFY_DONE;
	if (!atomic_long_read(&penumbra_vms))
		return NOTIFY_DONE;
	penumbra_err("suspend refused: %ld VMs are running\n", atomic_long_read(&penumbra_vms));
	return NOTIFY_BAD;
}

static struct notifier_block power_notifier = { .notifier_call = power_event };

static int check_image(void)
{
	const struct penumbra_image_header *image = penumbra_image();
	u64 size = penumbra_core_image_end - penumbra_core_image;

	if (IS_ALIGNED((unsigned long)image, PAGE_SIZE) && size >= sizeof(*image) &&
	    image->magic == PENUMBRA_IMAGE_MAGIC &&
	    image->entry_text_size + image->text_size + image->constants_size == size &&
	    image->build_id - PENUMBRA_CORE_IMAGE + 20 <= size &&
	    image->diversions - PENUMBRA_CORE_IMAGE +
			    image->diversion_count * sizeof(struct penumbra_diversion) <=
		    image->entry_text_size)
		return 0;
	penumbra_err("the embedded core image is damaged\n");
	return -ENOEXEC;
}

static int __init penumbra_init(void)
{
	int error = check_image();

	if (!error)
		error = penumbra_barriers_init();
	if (!error)
		error = penumbra_world_init();
	if (error)
		return error;
	error = penumbra_watchdog_init();
	if (error)
		return error;
	error = register_pm_notifier(&power_notifier);
	if (error)
		goto no_notifier;
	error = misc_register(&device);
	if (!error)
		return 0;
	unregister_pm_notifier(&power_notifier);
no_notifier:
	penumbra_watchdog_exit();
	return error;
}

static void __exit penumbra_exit(void)
{
	misc_deregister(&device);
	unregister_pm_notifier(&power_notifier);
	penumbra_watchdog_exit();
}

module_init(penumbra_init);
module_exit(penumbra_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Penumbra: virtual machines without hardware virtualization");
