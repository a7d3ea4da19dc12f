// SPDX-License-Identifier: Apache-2.0
#include "fusefs/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "fusefs/fuse_mount.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/ops_attr.h"
#include "fusefs/ops_data.h"
#include "fusefs/ops_entry.h"
#include "fusefs/ops_open.h"
#include "fusefs/ops_refused.h"
#include "fusefs/ops_xattr.h"

namespace chainfs::fusefs {
namespace {

// Requests that the kernel may have under way in the background (readahead, direct aio).
constexpr unsigned kMaxBackground = 64;
// Interrupts the loop's wait, see Exit; nobody else uses this signal.
constexpr int kKickSignal = SIGUSR2;

void SetWanted(fuse_conn_info* conn, unsigned ability, bool wanted) {
  if ((conn->capable & ability) == 0) return;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  if (wanted) {
    fuse_set_feature_flag(conn, ability);
  } else {
    fuse_unset_feature_flag(conn, ability);
  }
#else
  conn->want = wanted ? conn->want | ability : conn->want & ~ability;
#endif
}

void Init(void* user_data, fuse_conn_info* conn) {
  const auto& context = *static_cast<const MountContext*>(user_data);
  conn->max_read = kMaxTransfer;
  conn->max_write = kMaxTransfer;
  conn->max_readahead = kMaxTransfer;
  conn->max_background = kMaxBackground;
  conn->congestion_threshold = kMaxBackground * 3 / 4;
  conn->time_gran = 1;
  // Plain copies were measured three times as fast as splicing.
  SetWanted(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
  // Contents change only through the kernel: a new mtime is no reason to drop cached pages.
  SetWanted(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
  SetWanted(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
  SetWanted(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS, true);
  // O_TRUNC arrives with the open, so that it can be refused before anything happens.
  SetWanted(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
  SetWanted(conn, FUSE_CAP_WRITEBACK_CACHE, context.options.writeback_cache);
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
  SetWanted(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP, true);
#endif
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  // No file here is ever setuid; this spares a request before each cached write.
  SetWanted(conn, FUSE_CAP_HANDLE_KILLPRIV_V2, true);
#endif
}

const fuse_lowlevel_ops& Operations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops = {};
    ops.init = Init;
    AddEntryOps(&ops);
    AddAttrOps(&ops);
    AddOpenOps(&ops);
    AddDataOps(&ops);
    AddXattrOps(&ops);
    AddRefusedOps(&ops);
    return ops;
  }();
  return operations;
}

// libfuse 3.17 passes on what InitReply adds.
#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)
ssize_t ReadRequest(int fd, void* request, size_t most, void* user_data) {
  // libfuse cancels its threads at the end, where they read. One that has read must not be
  // cancelled while it tells of an error: it would keep the lock of stderr, and the exit wait for
  // that.
  ::pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
  const ssize_t size = ::read(fd, request, most);
  ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
  if (size > 0) {
    static_cast<MountContext*>(user_data)->init_reply.See(
        {static_cast<const std::byte*>(request), static_cast<size_t>(size)});
  }
  return size;
}

ssize_t WriteReply(int fd, iovec* parts, int count, void* user_data) {
  static_cast<MountContext*>(user_data)->init_reply.Complete({parts, static_cast<size_t>(count)});
  return ::writev(fd, parts, count);
}

bool CompleteInitReply(fuse_session* session) {
  const fuse_custom_io io = {
      .writev = WriteReply, .read = ReadRequest, .splice_receive = nullptr, .splice_send = nullptr};
  return fuse_session_custom_io(session, &io, fuse_session_fd(session)) == 0;
}
#else
bool CompleteInitReply(fuse_session*) { return true; }
#endif

void Kicked(int) {}

}  // namespace

unsigned DefaultThreads() { return std::max(8u, 2 * std::thread::hardware_concurrency()); }

Session::Session(MountContext& context, fuse_session* session)
    : context_(context), session_(session), loop_thread_(::pthread_self()) {}

Session::~Session() { fuse_session_destroy(session_); }

Result<std::unique_ptr<Session>> Session::Open(MountContext& context, UniqueFd connection) {
  LogFromLibfuse();
  struct sigaction action = {};
  action.sa_handler = Kicked;  // without SA_RESTART: it must interrupt
  ::sigaction(kKickSignal, &action, nullptr);
  LibfuseArguments arguments(context.options);
  fuse_session* raw =
      fuse_session_new(arguments.get(), &Operations(), sizeof(fuse_lowlevel_ops), &context);
  if (raw == nullptr) return Fail(ErrorKind::kNoMemory, "no memory for the mount");
  std::unique_ptr<Session> session(new Session(context, raw));
  // What is mounted already is named to libfuse so; from now on it closes the file.
  const std::string served = fmt::format("/dev/fd/{}", connection.get());
  if (fuse_session_mount(raw, served.c_str()) != 0) {
    return Fail(ErrorKind::kIo, "libfuse does not take the connection");
  }
  (void)connection.Release();
  if (!CompleteInitReply(raw)) return Fail(ErrorKind::kNoMemory, "no memory for the mount");
  return session;
}

bool Session::Loop() {
  int result = 0;
  if (context_.threads <= 1) {
    result = fuse_session_loop(session_);
  } else {
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, context_.threads);
    fuse_loop_cfg_set_idle_threads(config, context_.threads);
    result = fuse_session_loop_mt(session_, config);
    fuse_loop_cfg_destroy(config);
  }
  loop_ended_ = true;
  return result >= 0;
}

void Session::Exit() {
  fuse_session_exit(session_);
  // The loop waits in a system call and looks at the flag only when that is interrupted; a signal
  // just before the call would be lost, so it is repeated.
  while (!loop_ended_) {
    ::pthread_kill(loop_thread_, kKickSignal);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void Session::Disconnect() {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  // libfuse closes the number at the end.
  if (null.valid()) ::dup2(null.get(), fuse_session_fd(session_));
}

}  // namespace chainfs::fusefs
