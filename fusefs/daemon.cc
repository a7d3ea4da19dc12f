// SPDX-License-Identifier: Apache-2.0
#include "fusefs/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fusefs/keeper.h"
#include "fusefs/logging.h"
#include "fusefs/mount_state.h"
#include "fusefs/mount_table.h"
#include "fusefs/session.h"
#include "fusefs/start_check.h"

namespace chainfs::fusefs {
namespace {

sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
  return signals;
}

// Waits for signals on a thread of its own, so that what they cause may block and lock.
class SignalThread {
 public:
  explicit SignalThread(std::function<void(int)> handle)
      : handle_(std::move(handle)), end_(::eventfd(0, EFD_CLOEXEC)) {
    const sigset_t signals = HandledSignals();
    signals_ = UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC));
    thread_ = std::thread([this] { Loop(); });
  }
  ~SignalThread() {
    const uint64_t one = 1;
    while (::write(end_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void Loop() {
    for (;;) {
      std::array<pollfd, 2> fds = {{{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                    {.fd = end_.get(), .events = POLLIN, .revents = 0}}};
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;
      if (fds[1].revents != 0) return;
      signalfd_siginfo info = {};
      if (::read(signals_.get(), &info, sizeof info) == sizeof info) {
        handle_(static_cast<int>(info.ssi_signo));
      }
    }
  }

  const std::function<void(int)> handle_;
  const UniqueFd end_;
  UniqueFd signals_;
  std::thread thread_;
};

class Daemon {
 public:
  Daemon(const Options& options, Background& background, Catalog& catalog)
      : options_(options),
        background_(background),
        catalog_(catalog),
        // Jobs begin in Run, when state_ is there, and end before it goes.
        jobs_(catalog, event_log_,
              {.failed = [this](const auto& disk, const auto& type,
                                const Error& error) { state_.JobFailed(disk, type, error); }}),
        state_(options, catalog, event_log_, jobs_,
               options.threads != 0 ? options.threads : DefaultThreads()) {}

  Status Run() {
    // Another one may have been quicker while this one looked at the images.
    CHAINFS_TRY(CheckNotMounted(options_.mountpoint));
    CHAINFS_ASSIGN(session_, Session::Mount(state_));
    if (const auto device = MountDevice(options_.mountpoint)) {
      abort_switch_ = OpenAbortSwitch(*device);
    }
    state_.invalidator.Start(session_->raw());
    state_.fence.Start(session_->raw());
    jobs_.ResumeRecorded();
    state_.watcher.Start();
    bool served = false;
    {
      Keeper keeper(state_, [this] { Ready(); });
      const SignalThread signals([this](int signal) { OnSignal(signal); });
      keeper.Start();
      served = session_->Loop();
      catalog_.AnnounceEnd();
      Leave();
    }
    // The threads that use the session are gone.
    state_.invalidator.Stop();
    state_.fence.Stop();
    EndJobs();
    session_.reset();
    if (!options_.pid_file.empty()) ::unlink(options_.pid_file.c_str());
    if (!served) return Fail(ErrorKind::kIo, "the FUSE session failed");
    return {};
  }

 private:
  void Ready() {
    if (!options_.pid_file.empty()) {
      if (const Status written = WritePidFile(options_.pid_file); !written) {
        spdlog::warn("{}", written.error().message);
      }
    }
    if (!options_.foreground) LogToSyslog();
    const size_t disks = state_.inodes.List(NodeKind::kRoot).size();
    spdlog::info("serving {} {} on {}", disks, disks == 1 ? "disk" : "disks", options_.mountpoint);
    background_.Announce();
    NotifyServiceManager("READY=1");
  }

  void OnSignal(int signal) {
    if (signal == SIGUSR1) {
      LogJobs();
    } else if (signal != SIGHUP || options_.foreground) {
      if (!leaving_.exchange(true)) GoAway(signal);
    }
  }

  void LogJobs() {
    const std::vector<jobs::JobInfo> jobs = jobs_.Jobs("");
    if (jobs.empty()) spdlog::info("no jobs");
    for (const jobs::JobInfo& job : jobs) spdlog::info("job {}", jobs::JobToJson(job));
  }

  // On the signal thread; requests are served meanwhile, so the kernel can write back.
  void GoAway(int signal) {
    spdlog::info("received SIG{}, shutting down", sigabbrev_np(signal));
    NotifyServiceManager("STOPPING=1");
    EndJobs();
    state_.events.End();
    if (const Status gone = UnmountPolitely(); !gone) {
      spdlog::warn("{}; detaching it, whoever uses it gets errors from now on",
                   gone.error().message);
      SyncMount(options_.mountpoint);
    }
    session_->Exit();
  }

  // Readers of events need a moment to close their files.
  Status UnmountPolitely() {
    Status gone;
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      gone = Unmount(options_.mountpoint, UnmountMode::kPolite);
      if (gone) break;
    }
    return gone;
  }

  void EndJobs() {
    if (jobs_ended_.exchange(true)) return;
    event_log_.Publish("SHUTDOWN", {});
    jobs_.Shutdown();
  }

  // No request is served any more. What is parked is answered while the session can; then the mount
  // goes, lazily if it is in use, and whoever waits for us (our own threads too) gets ENOTCONN.
  void Leave() {
    state_.watcher.Stop();
    state_.events.Stop();
    state_.invalidator.Quiesce();
    state_.fence.Quiesce();
    session_->Unmount();
    AbortConnection(abort_switch_);
  }

  const Options& options_;
  Background& background_;
  Catalog& catalog_;
  jobs::EventLog event_log_;
  jobs::JobManager jobs_;
  MountState state_;
  std::unique_ptr<Session> session_;
  UniqueFd abort_switch_;
  std::atomic<bool> leaving_ = false;
  std::atomic<bool> jobs_ended_ = false;
};

// What this host remembers between mounts: as systemd says, else where such things lie.
std::string StateDirectory() {
  const auto variable = [](const char* name) {
    const char* const value = ::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string given = variable("STATE_DIRECTORY");
  if (!given.empty()) return given.substr(0, given.find(':'));
  if (::geteuid() == 0) return "/var/lib/chainfs";
  const std::string state = variable("XDG_STATE_HOME");
  if (state.starts_with('/')) return state + "/chainfs";
  const std::string home = variable("HOME");
  return home.starts_with('/') ? home + "/.local/state/chainfs" : "";
}

}  // namespace

Status RunDaemon(const Options& as_given, Background& background) {
  const sigset_t signals = HandledSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Options options = as_given;
  std::vector<std::string> needed = options.catalog.backing_dirs;
  for (const SourceSpec& source : options.sources) needed.push_back(source.path);
  CHAINFS_ASSIGN(options.mountpoint, PrepareMountpoint(as_given.mountpoint, needed));
  if (options.catalog.state_directory.empty()) options.catalog.state_directory = StateDirectory();
  CHAINFS_ASSIGN(const std::unique_ptr<Catalog> catalog,
                 Catalog::Open(options.sources, options.catalog));
  CHAINFS_TRY(AwaitImages(*catalog));
  Status served;
  {
    Daemon daemon(options, background, *catalog);
    served = daemon.Run();
  }
  const Status closed = catalog->Close();
  CHAINFS_TRY(served);
  return closed;
}

}  // namespace chainfs::fusefs
