// SPDX-License-Identifier: Apache-2.0
#include "fusefs/sandbox/syscall_filter.h"

#include <linux/fs.h>
#include <linux/fuse.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <initializer_list>
#include <memory>

namespace chainfs::sandbox {
namespace {

// By name, as libseccomp knows them: not every architecture has all.
constexpr std::initializer_list<const char*> kAllowed = {
    // files that are open
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "lseek", "close", "close_range", "fcntl", "flock", "fsync", "fdatasync",
    "sync_file_range", "syncfs", "fallocate", "ftruncate", "copy_file_range", "sendfile", "splice",
    "fadvise64", "readahead", "dup", "dup2", "dup3", "pipe", "pipe2", "fstat", "fstatfs", "fchmod",
    "fchown", "fgetxattr", "fsetxattr", "flistxattr", "fremovexattr", "getdents64",
    // names
    "open", "openat", "openat2", "stat", "lstat", "newfstatat", "statx", "statfs", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "mkdir", "mkdirat", "unlink", "unlinkat",
    "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "chmod", "fchmodat", "fchmodat2",
    "chown", "lchown", "fchownat", "utimensat", "getxattr", "lgetxattr", "setxattr", "lsetxattr",
    "listxattr", "llistxattr", "getcwd", "umask", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch",
    // waiting
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime",
    "timerfd_gettime", "signalfd4", "nanosleep", "clock_nanosleep", "futex", "futex_waitv",
    // memory, threads, time
    "brk", "munmap", "mremap", "madvise", "msync", "mincore", "mlock", "mlock2", "munlock",
    "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "membarrier", "sched_yield",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "sched_setscheduler", "getcpu",
    "getpriority", "setpriority", "ioprio_get", "ioprio_set", "arch_prctl", "prctl",
    "clock_gettime", "clock_getres", "gettimeofday", "time", "times", "getrusage", "getrandom",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending",
    "rt_sigsuspend", "sigaltstack", "tgkill", "wait4", "restart_syscall", "exit", "exit_group",
    // who and where we are
    "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid",
    "getresgid", "getgroups", "getrlimit", "uname", "sysinfo", "capget",
    // sockets that exist: the keeper's, the log's, systemd's and those of QMP
    "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "recvfrom", "recvmsg",
    "getsockopt", "setsockopt", "getsockname", "getpeername", "shutdown"};

// Said plainly, for logs and for whoever tries.
constexpr std::initializer_list<const char*> kRefused = {"execve",
                                                         "execveat",
                                                         "ptrace",
                                                         "process_vm_readv",
                                                         "process_vm_writev",
                                                         "kill",
                                                         "tkill",
                                                         "rt_sigqueueinfo",
                                                         "pidfd_open",
                                                         "pidfd_getfd",
                                                         "pidfd_send_signal",
                                                         "mount",
                                                         "umount2",
                                                         "mount_setattr",
                                                         "move_mount",
                                                         "open_tree",
                                                         "fsopen",
                                                         "fsconfig",
                                                         "fsmount",
                                                         "fspick",
                                                         "pivot_root",
                                                         "chroot",
                                                         "setns",
                                                         "bpf",
                                                         "perf_event_open",
                                                         "userfaultfd",
                                                         "keyctl",
                                                         "add_key",
                                                         "request_key",
                                                         "init_module",
                                                         "finit_module",
                                                         "delete_module",
                                                         "kexec_load",
                                                         "kexec_file_load",
                                                         "reboot",
                                                         "swapon",
                                                         "swapoff",
                                                         "setuid",
                                                         "setgid",
                                                         "setreuid",
                                                         "setregid",
                                                         "setresuid",
                                                         "setresgid",
                                                         "setgroups",
                                                         "setfsuid",
                                                         "setfsgid",
                                                         "capset",
                                                         "mknod",
                                                         "mknodat",
                                                         "symlink",
                                                         "symlinkat",
                                                         "open_by_handle_at",
                                                         "quotactl",
                                                         "acct",
                                                         "sethostname",
                                                         "settimeofday",
                                                         "clock_settime",
                                                         "iopl",
                                                         "ioperm",
                                                         "io_uring_setup",
                                                         "io_uring_enter",
                                                         "io_uring_register",
                                                         "memfd_create"};

// Collects the first failure.
class Builder {
 public:
  explicit Builder(scmp_filter_ctx filter) : filter_(filter) {}

  template <typename... Conditions>
  void Add(uint32_t action, const char* name, Conditions... conditions) {
    const int number = ::seccomp_syscall_resolve_name(name);
    // Newer than the library, or of another architecture.
    if (number == __NR_SCMP_ERROR || number < 0) return;
    constexpr unsigned kCount = sizeof...(conditions);
    const int error = ::seccomp_rule_add(filter_, action, number, kCount, conditions...);
    if (error != 0 && first_error_ == 0) first_error_ = -error;
  }
  template <typename... Conditions>
  void Allow(const char* name, Conditions... conditions) {
    Add(SCMP_ACT_ALLOW, name, conditions...);
  }
  template <typename... Conditions>
  void Refuse(const char* name, Conditions... conditions) {
    Add(SCMP_ACT_ERRNO(EPERM), name, conditions...);
  }
  int first_error() const { return first_error_; }

 private:
  const scmp_filter_ctx filter_;
  int first_error_ = 0;
};

scmp_arg_cmp Bits(unsigned argument, uint64_t mask, uint64_t value) {
  return scmp_arg_cmp{.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

scmp_arg_cmp Equals(unsigned argument, uint64_t value) {
  return scmp_arg_cmp{.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

// Calls that are allowed for some of their arguments.
void AllowInPart(Builder& rules) {
  rules.Allow("clone", Bits(0, CLONE_THREAD, CLONE_THREAD));
  rules.Refuse("clone", Bits(0, CLONE_THREAD, 0));
  // Not clone3, whose flags are in memory where no filter looks: glibc falls back to clone.
  // A table of files of a thread's own (without_files.h).
  rules.Allow("unshare", Equals(0, CLONE_FILES));
  for (const char* const call : {"socket", "socketpair"}) {
    rules.Allow(call, Equals(0, AF_UNIX));
    rules.Refuse(call, scmp_arg_cmp{.arg = 0, .op = SCMP_CMP_NE, .datum_a = AF_UNIX, .datum_b = 0});
  }
  // Our own limits, to be read.
  rules.Allow("prlimit64", Equals(2, 0));
  for (const unsigned long request :
       {static_cast<unsigned long>(FICLONERANGE), static_cast<unsigned long>(TCGETS),
        static_cast<unsigned long>(FUSE_DEV_IOC_CLONE)}) {
    rules.Allow("ioctl", Bits(1, UINT32_MAX, static_cast<uint32_t>(request)));
  }
  // Memory is written or executed, never both, nor one after the other.
  rules.Allow("mmap", Bits(2, PROT_EXEC, 0));
  rules.Allow("mmap", Bits(2, PROT_EXEC | PROT_WRITE, PROT_EXEC));
  rules.Refuse("mmap", Bits(2, PROT_EXEC | PROT_WRITE, PROT_EXEC | PROT_WRITE));
  rules.Allow("mprotect", Bits(2, PROT_EXEC, 0));
  rules.Refuse("mprotect", Bits(2, PROT_EXEC, PROT_EXEC));
}

}  // namespace

Result<bool> FilterSystemCalls() {
#ifdef CHAINFS_SANITIZED
  // Their run-time libraries need calls of their own.
  return false;
#endif
  const std::unique_ptr<void, decltype(&::seccomp_release)> filter(
      ::seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), &::seccomp_release);
  if (filter == nullptr) return FailErrno(ENOMEM, "sandbox: system calls");
  // All threads have it, or none.
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  // A tree instead of a list, where the library can.
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  Builder rules(filter.get());
  for (const char* const call : kAllowed) rules.Allow(call);
  for (const char* const call : kRefused) rules.Refuse(call);
  AllowInPart(rules);
  if (rules.first_error() != 0) return FailErrno(rules.first_error(), "sandbox: system calls");
  const int error = -::seccomp_load(filter.get());
  if (error == EINVAL || error == ENOSYS) return false;
  if (error != 0) return FailErrno(error, "sandbox: system calls");
  return true;
}

}  // namespace chainfs::sandbox
