/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses a directory of a share as programs use directories, and checks what
 * POSIX says about it. Ends with 1 at the first thing that is wrong.
 *
 *   usage: share DIRECTORY CAN-MAP
 *
 * CAN-MAP is 1 if files can be mapped for writing, which the way of caching
 * that the share was mounted with decides.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static struct stat status(const char *path)
{
	struct stat status;

	HOLDS(lstat(path, &status) == 0);
	return status;
}

static int made(const char *path, const char *text)
{
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);

	HOLDS(file >= 0);
	HOLDS(write(file, text, strlen(text)) == (ssize_t)strlen(text));
	return file;
}

static void expect_text(const char *path, const char *expected)
{
	char text[100] = "";
	int file = open(path, O_RDONLY);

	HOLDS(file >= 0);
	HOLDS(read(file, text, sizeof(text) - 1) == (ssize_t)strlen(expected));
	HOLDS(strcmp(text, expected) == 0);
	HOLDS(close(file) == 0);
}

static void test_names(void)
{
	close(made("a", "one"));
	close(made("b", "two"));
	HOLDS(rename("a", "b") == 0);
	expect_text("b", "one");
	HOLDS(access("a", F_OK) != 0 && errno == ENOENT);
	HOLDS(link("b", "c") == 0);
	HOLDS(status("b").st_nlink == 2 && status("b").st_ino == status("c").st_ino);
	HOLDS(symlink("c", "d") == 0);
	expect_text("d", "one");
	HOLDS(S_ISLNK(status("d").st_mode));
	HOLDS(symlink("/missing/here", "e") == 0);
	HOLDS(open("e", O_RDONLY) < 0 && errno == ENOENT);
	HOLDS(mkdir("dir", 0750) == 0);
	HOLDS((status("dir").st_mode & 07777) == 0750);
	HOLDS(rename("c", "dir/c") == 0);
	HOLDS(rmdir("dir") != 0 && errno == ENOTEMPTY);
	expect_text("dir/../dir/c", "one");
	HOLDS(unlink("dir/c") == 0 && rmdir("dir") == 0);
	HOLDS(unlink("b") == 0 && unlink("d") == 0 && unlink("e") == 0);
}

/* Where the host's file system has none, the guest is told so. */
static void test_extended(const char *path)
{
	char value[10];

	if (setxattr(path, "user.name", "value", 5, 0) != 0) {
		HOLDS(errno == EOPNOTSUPP);
		return;
	}
	HOLDS(getxattr(path, "user.name", value, sizeof(value)) == 5);
	HOLDS(memcmp(value, "value", 5) == 0);
	HOLDS(listxattr(path, value, sizeof(value)) == sizeof("user.name"));
	HOLDS(removexattr(path, "user.name") == 0);
	HOLDS(getxattr(path, "user.name", value, sizeof(value)) < 0 && errno == ENODATA);
}

static void test_attributes(void)
{
	struct timespec times[2] = {{100, 1}, {200, 2}};

	close(made("a", "12345678"));
	HOLDS(chmod("a", 04711) == 0);
	HOLDS(chown("a", 1000, 1001) == 0);
	HOLDS(status("a").st_uid == 1000 && status("a").st_gid == 1001);
	HOLDS(chmod("a", 04711) == 0);
	HOLDS((status("a").st_mode & 07777) == 04711);
	HOLDS(utimensat(AT_FDCWD, "a", times, 0) == 0);
	HOLDS(status("a").st_atim.tv_sec == 100 && status("a").st_mtim.tv_sec == 200);
	HOLDS(truncate("a", 3) == 0);
	HOLDS(status("a").st_size == 3);
	HOLDS(truncate("a", 100000) == 0);
	HOLDS(status("a").st_size == 100000);
	test_extended("a");
	HOLDS(unlink("a") == 0);
	HOLDS(mkfifo("pipe", 0600) == 0);
	HOLDS(S_ISFIFO(status("pipe").st_mode));
	HOLDS(unlink("pipe") == 0);
	HOLDS(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	int null = open("null", O_WRONLY);
	HOLDS(null >= 0 && write(null, "x", 1) == 1);
	close(null);
	HOLDS(unlink("null") == 0);
}

static void test_files(void)
{
	char text[10] = "";
	int file = made("a", "one");
	int end = open("a", O_WRONLY | O_APPEND);

	HOLDS(write(end, "two", 3) == 3 && write(end, "six", 3) == 3);
	expect_text("a", "onetwosix");
	HOLDS(unlink("a") == 0);
	/* Both live on. */
	HOLDS(pwrite(file, "ONE", 3, 0) == 3);
	HOLDS(fsync(file) == 0 && fdatasync(end) == 0);
	HOLDS(pread(file, text, 9, 0) == 9 && strcmp(text, "ONEtwosix") == 0);
	struct stat opened;
	HOLDS(fstat(file, &opened) == 0 && opened.st_nlink == 0 && opened.st_size == 9);
	HOLDS(ftruncate(file, 4) == 0 && pread(file, text, 9, 0) == 4);
	close(file);
	close(end);
	HOLDS(open("a", O_RDWR) < 0 && errno == ENOENT);
	close(made("a", "1"));
	HOLDS(open("a", O_RDWR | O_CREAT | O_EXCL, 0600) < 0 && errno == EEXIST);
	/* A file that its owner may not write is written by who made it so. */
	file = open("b", O_RDWR | O_CREAT | O_EXCL, 0400);
	HOLDS(file >= 0 && write(file, "x", 1) == 1);
	close(file);
	HOLDS(unlink("a") == 0 && unlink("b") == 0);
}

/* Everything is found and removed, though the directory is read meanwhile. */
static void test_directories(void)
{
	enum { ENTRIES = 100 };
	char name[300];
	int found = 0;

	HOLDS(mkdir("many", 0755) == 0);
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "many/%d-%0*d", i, 1 + i % 200, i);
		close(made(name, ""));
	}
	DIR *directory = opendir("many");
	HOLDS(directory);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		HOLDS(entry->d_type == DT_REG);
		snprintf(name, sizeof(name), "many/%s", entry->d_name);
		HOLDS(unlink(name) == 0);
		found++;
	}
	closedir(directory);
	HOLDS(found == ENTRIES);
	HOLDS(rmdir("many") == 0);
}

static void test_maps(int can_map)
{
	int file = made("a", "hello, world");
	/* Linux maps no file that could be written then, where it does not cache. */
	int fixed = open("a", O_RDONLY);
	char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fixed, 0);

	HOLDS(shared != MAP_FAILED && memcmp(shared, "hello", 5) == 0);
	munmap(shared, 4096);
	close(fixed);
	if (can_map) {
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		HOLDS(shared != MAP_FAILED);
		memcpy(shared, "HELLO", 5);
		HOLDS(msync(shared, 4096, MS_SYNC) == 0);
		munmap(shared, 4096);
		expect_text("a", "HELLO, world");
	}
	close(file);
	HOLDS(unlink("a") == 0);
}

static void test_locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	int file = made("a", "0123456789");

	HOLDS(fcntl(file, F_SETLK, &lock) == 0);
	pid_t child = fork();
	if (child == 0) {
		int own = open("a", O_RDWR);
		int refused = fcntl(own, F_SETLK, &lock) != 0 && (errno == EAGAIN || errno == EACCES);
		int found = fcntl(own, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
		lock.l_start = 10;
		lock.l_type = F_WRLCK;
		_exit(refused && found && fcntl(own, F_SETLK, &lock) == 0 ? 0 : 1);
	}
	wait_for(child);
	lock.l_type = F_UNLCK;
	HOLDS(fcntl(file, F_SETLK, &lock) == 0);
	HOLDS(flock(file, LOCK_EX | LOCK_NB) == 0 && flock(file, LOCK_UN) == 0);
	close(file);
	HOLDS(unlink("a") == 0);
}

int main(int count, char **words)
{
	HOLDS(count == 3);
	umask(0);
	HOLDS(chdir(words[1]) == 0);
	test_names();
	test_attributes();
	test_files();
	test_directories();
	test_maps(atoi(words[2]));
	test_locks();
	return 0;
}
