// SPDX-License-Identifier: Apache-2.0
//
// passthrough FILE MOUNTPOINT: shows one raw file through libfuse's low-level API and does nothing
// else. It is the limit that a FUSE file system can reach on this machine, so the benchmark
// measures chainfs against it. MOUNTPOINT is a regular file; the program stays in the foreground
// until SIGTERM.
//
// It takes the two ways in that chainfs takes: openers with O_DIRECT get FOPEN_DIRECT_IO and
// FOPEN_PARALLEL_DIRECT_WRITES, all others the page cache, kept across opens. libfuse before 3.15
// has no field for the second flag, so the reply to open is sent as the kernel's own struct.
//
// What it does not do: change of size or attributes, names, anything but the one file.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

namespace chainfs {
namespace {

constexpr size_t kMaxTransfer = size_t{1} << 20;  // bytes in one read or write request
constexpr double kAttributeSeconds = 3600;
constexpr unsigned kThreads = 10;

// Constant once the session runs.
int backing_fd = -1;

// One buffer a thread: a request is never larger, and a thread serves one request at a time.
char* ThreadBuffer() {
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  thread_local const std::unique_ptr<char, Free> buffer(
      static_cast<char*>(std::aligned_alloc(4096, kMaxTransfer)));
  return buffer.get();
}

void Init(void*, fuse_conn_info* conn) {
  conn->max_read = kMaxTransfer;
  conn->max_write = kMaxTransfer;
  conn->max_readahead = kMaxTransfer;
}

void GetAttr(fuse_req_t req, fuse_ino_t, fuse_file_info*) {
  struct stat st = {};
  if (fstat(backing_fd, &st) != 0) {
    fuse_reply_err(req, errno);
    return;
  }
  st.st_ino = FUSE_ROOT_ID;
  fuse_reply_attr(req, &st, kAttributeSeconds);
}

void Open(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  fuse_open_out out = {};
  out.open_flags = (fi->flags & O_DIRECT) != 0 ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
                                               : FOPEN_KEEP_CACHE;
  const iovec reply = {&out, sizeof(out)};
  fuse_reply_iov(req, &reply, 1);
}

void Read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
  if (size > kMaxTransfer) size = kMaxTransfer;
  char* const buffer = ThreadBuffer();
  const ssize_t done = pread(backing_fd, buffer, size, offset);
  if (done < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_buf(req, buffer, static_cast<size_t>(done));
  }
}

void Write(fuse_req_t req, fuse_ino_t, const char* data, size_t size, off_t offset,
           fuse_file_info*) {
  const ssize_t done = pwrite(backing_fd, data, size, offset);
  if (done < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_write(req, static_cast<size_t>(done));
  }
}

void Fsync(fuse_req_t req, fuse_ino_t, int data_only, fuse_file_info*) {
  const int failed = data_only != 0 ? fdatasync(backing_fd) : fsync(backing_fd);
  fuse_reply_err(req, failed != 0 ? errno : 0);
}

void Release(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, 0); }

int Serve(fuse_session* session, const char* mountpoint) {
  if (fuse_set_signal_handlers(session) != 0) return 1;
  if (fuse_session_mount(session, mountpoint) != 0) return 1;
  fuse_loop_config* const config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, kThreads);
  fuse_loop_cfg_set_idle_threads(config, kThreads);
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_remove_signal_handlers(session);
  return result < 0 ? 1 : 0;
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FILE MOUNTPOINT\n", argv[0]);
    return 2;
  }
  backing_fd = open(argv[1], O_RDWR | O_CLOEXEC);
  if (backing_fd < 0) {
    std::perror(argv[1]);
    return 1;
  }
  fuse_lowlevel_ops ops = {};
  ops.init = Init;
  ops.getattr = GetAttr;
  ops.open = Open;
  ops.read = Read;
  ops.write = Write;
  ops.fsync = Fsync;
  ops.release = Release;

  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&args, argv[0]);
  fuse_opt_add_arg(&args, "-omax_read=1048576,default_permissions,fsname=passthrough");
  fuse_session* const session = fuse_session_new(&args, &ops, sizeof(ops), nullptr);
  int result = 1;
  if (session != nullptr) {
    result = Serve(session, argv[2]);
    fuse_session_destroy(session);
  }
  fuse_opt_free_args(&args);
  return result;
}

}  // namespace
}  // namespace chainfs

int main(int argc, char** argv) { return chainfs::Main(argc, argv); }
