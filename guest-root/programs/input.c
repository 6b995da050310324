/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries a command's input, which has an end, over a console, which has none and whose driver
 * takes some bytes for itself. Copies standard input to standard output; Control-P is followed by
 * a byte with bit 6 turned over, or by Control-D, which is the end. Its other end is StuffedInput
 * in Sources/PenumbraVMM/XenPV/XenDevices.swift. Needs no library.
 */
enum { sys_read = 0, sys_write = 1, sys_exit = 60 };
enum { standard_input = 0, standard_output = 1 };

static long call(long number, long first, const void *second, unsigned long third)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) static void end(int status)
{
	call(sys_exit, status, 0, 0);
	__builtin_unreachable();
}

/* A command that does not read its input ends this program by SIGPIPE. */
static void write_all(const unsigned char *bytes, unsigned long count)
{
	while (count > 0) {
		long written = call(sys_write, standard_output, bytes, count);

		if (written <= 0)
			end(1);
		bytes += written;
		count -= written;
	}
}

/* Whether the next byte is one that follows an escape. */
static int is_escaped;

/* Decodes in place; the decoded length. Sets `ended` at the end of the input. */
static unsigned long decode(unsigned char *bytes, unsigned long count, int *ended)
{
	enum { escape = 0x10, end_mark = 0x04, turned = 0x40 };
	unsigned long decoded = 0;

	for (unsigned long i = 0; i < count; i++) {
		unsigned char byte = bytes[i];

		if (is_escaped && byte == end_mark) {
			*ended = 1;
			break;
		}
		if (is_escaped || byte != escape)
			bytes[decoded++] = is_escaped ? byte ^ turned : byte;
		is_escaped = !is_escaped && byte == escape;
	}
	return decoded;
}

void _start(void)
{
	static unsigned char bytes[4096];
	int ended = 0;

	while (!ended) {
		long taken = call(sys_read, standard_input, bytes, sizeof(bytes));

		if (taken <= 0)
			end(1);
		write_all(bytes, decode(bytes, taken, &ended));
	}
	end(0);
}
