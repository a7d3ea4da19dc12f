// SPDX-License-Identifier: Apache-2.0
//
// One thread takes the requests. What may wait for the mount, so for the daemon, is done by a child
// for each request, which answers by itself: the next request is taken meanwhile.
#include "fusefs/keeper_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/abort_switch.h"
#include "blocklayer/base/text_values.h"
#include "fusefs/daemonize.h"
#include "fusefs/fuse_mount.h"
#include "fusefs/keeper_message.h"
#include "fusefs/loop_helper.h"
#include "fusefs/mount_table.h"

namespace chainfs::fusefs {
namespace {

constexpr unsigned kMostReadAhead = 64 << 10;  // KiB

// Only the standard files and the socket; returns its number.
int KeepOnly(int socket) {
  constexpr int kKept = STDERR_FILENO + 1;
  if (socket != kKept) ::dup2(socket, kKept);
  ::close_range(kKept + 1, ~0U, 0);
  ::fcntl(kKept, F_SETFD, FD_CLOEXEC);
  return kKept;
}

// fusermount3 says there why it cannot mount; afterwards nobody must wait for us to close them.
void LetGoOfTerminal() {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = STDIN_FILENO; null.valid() && fd <= STDERR_FILENO; ++fd) ::dup2(null.get(), fd);
}

class KeeperProcess {
 public:
  KeeperProcess(const Options& options, pid_t daemon) : options_(options), daemon_(daemon) {}

  void Serve(int socket) {
    while (const std::optional<KeeperMessage> request = ReceiveMessage(socket)) {
      if (!request->words.empty() && !request->files.empty()) {
        Answer(request->words, request->files.front().get());
      }
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
    }
    (void)AbortConnection(abort_switch_);
  }

 private:
  using Words = std::vector<std::string>;

  static void Reply(int to, const Status& done, std::vector<int> files = {}) {
    Words words = {"0"};
    if (!done)
      words = {fmt::format("{}", done.error().sys_errno != 0 ? done.error().sys_errno : EIO),
               done.error().message};
    (void)SendMessage(to, words, files);
  }

  // In a child of its own.
  static void Apart(const std::function<void()>& call) {
    if (const pid_t child = ::fork(); child != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    call();
    ::_exit(0);
  }

  bool MountedYet() const {
    return !device_.empty() && MountDevice(options_.mountpoint) == device_;
  }

  void Answer(const Words& words, int to) {
    const std::string& what = words.front();
    if (what == kKeeperMount) {
      AnswerMount(to);
    } else if (what == kKeeperSwitch) {
      AnswerSwitch(to);
    } else if (what == kKeeperUnmount) {
      const UnmountMode mode = words.back() == "lazy" ? UnmountMode::kLazy : UnmountMode::kPolite;
      Apart([&] { Reply(to, MountedYet() ? Unmount(options_.mountpoint, mode) : Status()); });
    } else if (what == kKeeperSync) {
      Apart([&] {
        if (MountedYet()) SyncMount(options_.mountpoint);
        Reply(to, {});
      });
    } else if (what == kKeeperReadAhead) {
      const auto kibibytes = ParseNumber(words.back());
      if (MountedYet() && kibibytes && *kibibytes <= kMostReadAhead) {
        RaiseReadAhead(device_, static_cast<unsigned>(*kibibytes));
      }
      Reply(to, {});
    } else if (what == kKeeperWritePid) {
      Reply(to, options_.pid_file.empty() ? Status() : WritePidFile(options_.pid_file, daemon_));
    } else if (what == kKeeperRemovePid) {
      if (!options_.pid_file.empty()) ::unlink(options_.pid_file.c_str());
      Reply(to, {});
    } else if (what == kKeeperTellLoops) {
      Apart([&] { TellLoops(words, to); });
    }
  }

  void AnswerMount(int to) {
    if (!device_.empty()) return Reply(to, FailErrno(EBUSY, "mounted already"));
    const Result<UniqueFd> connection = MountConnection(options_);
    LetGoOfTerminal();
    if (!connection) return Reply(to, std::unexpected(connection.error()));
    device_ = MountDevice(options_.mountpoint).value_or("");
    Reply(to, {}, {connection->get()});
  }

  void AnswerSwitch(int to) {
    if (!abort_switch_.valid()) abort_switch_ = OpenAbortSwitch(device_);
    if (!abort_switch_.valid()) return Reply(to, FailErrno(ENOENT, "no switch"));
    Reply(to, {}, {abort_switch_.get()});
  }

  void TellLoops(const Words& words, int to) const {
    const std::optional<LoopTask> task = LoopTaskOf({words.begin() + 1, words.end()});
    if (!task || task->device != device_) return;
    if (CarryOut(*task) == 0) Reply(to, {});
  }

  const Options& options_;
  const pid_t daemon_;
  std::string device_;  // "0:52", once it is mounted
  UniqueFd abort_switch_;
};

}  // namespace

void RunKeeper(const Options& options, pid_t daemon, int socket) {
  int code = 1;
  try {
    // Whoever stops the daemon may send them to all its processes; the daemon may need us still.
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
      ::signal(signal, SIG_IGN);
    }
    ::prctl(PR_SET_NAME, "chainfs-keeper");
    const int kept = KeepOnly(socket);
    if (::chdir("/") != 0) ::_exit(1);
    KeeperProcess(options, daemon).Serve(kept);
    code = 0;
  } catch (...) {
    // Nobody is left who could be told; the daemon sees the end.
    code = 1;
  }
  ::_exit(code);
}

}  // namespace chainfs::fusefs
