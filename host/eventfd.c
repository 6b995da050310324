// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events across the border. From the guest: an exit NOTIFY(port) signals an eventfd.
 * Towards the guest the module knows no ABI: it sets bit p of vm->posted and wakes the
 * vCPU that the core's table names; only the core makes pending bits of it.
 */
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "penumbra.h"

struct penumbra_event_to_guest {
	struct list_head list;
	struct penumbra_vm_host *vm;
	u32 port;
	struct eventfd_ctx *context;
	wait_queue_head_t *queue;
	wait_queue_entry_t wait;
	poll_table table;
};

/* Order: the bit, a full fence, then the look at the vCPU's mode (in the kick). */
int penumbra_post(struct penumbra_vm_host *vm, u64 port)
{
	u16 target;

	if (!port || port >= PENUMBRA_MAX_PORTS)
		return -EINVAL;
	set_bit(port, (unsigned long *)vm->page->posted);
	smp_mb__after_atomic();
	target = READ_ONCE(vm->page->port_vcpu[port]);
	if (target < READ_ONCE(vm->page->vcpu_count) && target < PENUMBRA_MAX_VCPUS) {
		struct penumbra_vcpu_host *vcpu = READ_ONCE(vm->vcpu[target]);

		if (vcpu) {
			penumbra_vcpu_attention(vcpu, PENUMBRA_ATTENTION_POSTED);
			penumbra_vcpu_kick(vcpu);
		}
	}
	return 0;
}

void penumbra_eventfd_notify(struct penumbra_vm_host *vm, u64 port)
{
	unsigned long flags;

	if (port >= PENUMBRA_MAX_PORTS)
		return;
	spin_lock_irqsave(&vm->event_lock, flags);
	if (vm->events_from_guest[port])
		compat_eventfd_signal(vm->events_from_guest[port]);
	spin_unlock_irqrestore(&vm->event_lock, flags);
}

static int event_wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct penumbra_event_to_guest *event =
		container_of(wait, struct penumbra_event_to_guest, wait);

	if (key_to_poll(key) & EPOLLIN) {
		u64 count;

		eventfd_ctx_do_read(event->context, &count);
		penumbra_post(event->vm, event->port);
	}
	return 0;
}

static void event_queue(struct file *file, wait_queue_head_t *queue, poll_table *table)
{
	struct penumbra_event_to_guest *event =
		container_of(table, struct penumbra_event_to_guest, table);

	event->queue = queue;
	add_wait_queue_priority(queue, &event->wait);
}

static void event_free(struct penumbra_event_to_guest *event)
{
	u64 count;

	list_del(&event->list);
	eventfd_ctx_remove_wait_queue(event->context, &event->wait, &count);
	eventfd_ctx_put(event->context);
	kfree(event);
}

static int add_to_guest(struct penumbra_vm_host *vm, u32 port, struct fd fd)
{
	struct penumbra_event_to_guest *event, *other;
	struct eventfd_ctx *context;
	struct file *file = fd_file(fd);

	list_for_each_entry(other, &vm->events_to_guest, list)
		if (other->port == port)
			return -EEXIST;
	context = eventfd_ctx_fileget(file);
	if (IS_ERR(context))
		return PTR_ERR(context);
	event = kzalloc(sizeof(*event), GFP_KERNEL_ACCOUNT);
	if (!event) {
		eventfd_ctx_put(context);
		return -ENOMEM;
	}
	event->vm = vm;
	event->port = port;
	event->context = context;
	init_waitqueue_func_entry(&event->wait, event_wakeup);
	init_poll_funcptr(&event->table, event_queue);
	list_add(&event->list, &vm->events_to_guest);
	/* Signalled before we listened: post it now. */
	if (vfs_poll(file, &event->table) & EPOLLIN)
		penumbra_post(vm, port);
	return 0;
}

static int remove_to_guest(struct penumbra_vm_host *vm, u32 port)
{
	struct penumbra_event_to_guest *event;

	list_for_each_entry(event, &vm->events_to_guest, list) {
		if (event->port == port) {
			event_free(event);
			return 0;
		}
	}
	return -ENOENT;
}

static int set_from_guest(struct penumbra_vm_host *vm, u32 port, struct eventfd_ctx *context)
{
	struct eventfd_ctx *old;

	spin_lock_irq(&vm->event_lock);
	old = vm->events_from_guest[port];
	if (!old || !context)
		vm->events_from_guest[port] = context;
	spin_unlock_irq(&vm->event_lock);
	if (context)
		return old ? -EEXIST : 0;
	if (!old)
		return -ENOENT;
	eventfd_ctx_put(old);
	return 0;
}

/* Under vm->lock. */
int penumbra_eventfd_set(struct penumbra_vm_host *vm, const struct penumbra_eventfd *args)
{
	bool from_guest = args->flags & PENUMBRA_EVENTFD_FROM_GUEST;
	struct eventfd_ctx *context;
	struct fd fd;
	int error;

	if (args->reserved ||
	    args->flags & ~(PENUMBRA_EVENTFD_FROM_GUEST | PENUMBRA_EVENTFD_REMOVE))
		return -EINVAL;
	if (!args->port || args->port >= PENUMBRA_MAX_PORTS)
		return -EINVAL;
	if (args->flags & PENUMBRA_EVENTFD_REMOVE)
		return from_guest ? set_from_guest(vm, args->port, NULL) :
				    remove_to_guest(vm, args->port);
	fd = fdget(args->fd);
	if (!fd_file(fd))
		return -EBADF;
	if (from_guest) {
		context = eventfd_ctx_fileget(fd_file(fd));
		error = PTR_ERR_OR_ZERO(context);
		if (!error) {
			error = set_from_guest(vm, args->port, context);
			if (error)
				eventfd_ctx_put(context);
		}
	} else {
		error = add_to_guest(vm, args->port, fd);
	}
	fdput(fd);
	return error;
}

void penumbra_eventfd_release(struct penumbra_vm_host *vm)
{
	struct penumbra_event_to_guest *event, *next;
	u32 port;

	list_for_each_entry_safe(event, next, &vm->events_to_guest, list)
		event_free(event);
	for (port = 0; port < PENUMBRA_MAX_PORTS; port++)
		if (vm->events_from_guest[port])
			eventfd_ctx_put(vm->events_from_guest[port]);
}
