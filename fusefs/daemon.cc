// SPDX-License-Identifier: Apache-2.0
#include "fusefs/daemon.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "blocklayer/base/abort_switch.h"
#include "blocklayer/catalog/recorded_roots.h"
#include "ctl/control/control_plane.h"
#include "ctl/qmp/server.h"
#include "fusefs/confinement.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/keeper.h"
#include "fusefs/logging.h"
#include "fusefs/mount_context.h"
#include "fusefs/mount_table.h"
#include "fusefs/periodic_flush.h"
#include "fusefs/ready_probe.h"
#include "fusefs/session.h"
#include "fusefs/signal_thread.h"
#include "fusefs/start_check.h"

namespace chainfs::fusefs {
namespace {

class Daemon {
 public:
  Daemon(const Options& options, Background& background, Keeper& keeper, Catalog& catalog)
      : options_(options),
        background_(background),
        keeper_(keeper),
        catalog_(catalog),
        control_(catalog, control::CommandAccess(::getuid(), options.control_gid),
                 {.mountpoint = options.mountpoint,
                  .sources = options.source_texts,
                  .threads = ThreadsOf(options),
                  .direct_io = options.direct_io,
                  .writeback_cache = options.writeback_cache,
                  .allow_other = options.allow_other,
                  .max_layers = options.max_layers}),
        mount_(options, catalog, control_, ThreadsOf(options)) {}

  Status Run() {
    // Another one may have been quicker while this one looked at the images.
    CHAINFS_TRY(CheckNotMounted(options_.mountpoint));
    if (!options_.qmp.empty()) {
      CHAINFS_ASSIGN(qmp_,
                     qmp::Server::Listen(options_.qmp, options_.control_gid, catalog_, control_));
    }
    CHAINFS_TRY(Mount());
    mount_.invalidator.Start(session_->raw(), abort_switch_.get());
    mount_.fence.Start(session_->raw());
    control_.BeginJobs();
    mount_.watcher.Start();
    if (qmp_ != nullptr) qmp_->Start();
    bool served = false;
    {
      const ReadyProbe probe(options_.mountpoint, [this] { Ready(); });
      PeriodicFlush flush(control_.disks, {});
      const SignalThread signals([this](int signal) { OnSignal(signal); });
      flush.Start();
      served = session_->Loop();
      catalog_.AnnounceEnd();
      Leave();
    }
    // The threads that use the session are gone.
    mount_.invalidator.Stop();
    mount_.fence.Stop();
    control_.EndJobs();
    qmp_.reset();
    session_.reset();
    keeper_.RemovePidFile();
    if (!served) return Fail(ErrorKind::kIo, "the FUSE session failed");
    return {};
  }

 private:
  Status Mount() {
    CHAINFS_ASSIGN(UniqueFd connection, keeper_.Mount());
    Result<std::unique_ptr<Session>> session = Session::Open(mount_, std::move(connection));
    if (!session) {
      (void)keeper_.Unmount(UnmountMode::kLazy);
      return std::unexpected(std::move(session).error());
    }
    session_ = *std::move(session);
    abort_switch_ = keeper_.AbortSwitch();
    if (const auto device = MountDevice(options_.mountpoint)) {
      // Before the first job goes on, and the first command comes.
      catalog_.KeepOff(DeviceNumber(*device));
      mount_.loops.Start(*device, [this](const LoopTask& task) { return keeper_.TellLoops(task); });
    }
    return {};
  }

  static unsigned ThreadsOf(const Options& options) {
    return options.threads != 0 ? options.threads : DefaultThreads();
  }

  // On the probe's thread, once the mount serves.
  void Ready() {
    keeper_.RaiseReadAhead(kMaxTransfer / 1024);
    if (const Status written = keeper_.WritePidFile(); !written) {
      spdlog::warn("{}", written.error().message);
    }
    if (!options_.foreground) LogToSyslog();
    const size_t disks = mount_.inodes.List(NodeKind::kRoot).size();
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
    const std::vector<jobs::JobInfo> jobs = control_.jobs.Jobs("");
    if (jobs.empty()) spdlog::info("no jobs");
    for (const jobs::JobInfo& job : jobs) spdlog::info("job {}", jobs::JobToJson(job));
  }

  // On the signal thread; requests are served meanwhile, so the kernel can write back.
  void GoAway(int signal) {
    spdlog::info("received SIG{}, shutting down", sigabbrev_np(signal));
    NotifyServiceManager("STOPPING=1");
    control_.EndJobs();
    mount_.events.End();
    if (const Status gone = UnmountPolitely(); !gone) {
      spdlog::warn("{}; detaching it, whoever uses it gets errors from now on",
                   gone.error().message);
      keeper_.Sync();
    }
    session_->Exit();
  }

  // Readers of events need a moment to close their files.
  Status UnmountPolitely() {
    Status gone;
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      gone = keeper_.Unmount(UnmountMode::kPolite);
      if (gone) break;
    }
    return gone;
  }

  // No request is served any more. What is parked is answered while the session can; then the mount
  // goes, lazily if it is in use, and whoever waits for us (our own threads too) gets ENOTCONN.
  void Leave() {
    mount_.watcher.Stop();
    mount_.events.Stop();
    mount_.invalidator.Quiesce();
    mount_.fence.Quiesce();
    session_->Disconnect();
    (void)AbortConnection(abort_switch_);
    (void)keeper_.Unmount(UnmountMode::kLazy);
    mount_.loops.Stop();
  }

  const Options& options_;
  Background& background_;
  Keeper& keeper_;
  Catalog& catalog_;
  // Jobs begin in Run, and end before the mount goes.
  control::ControlPlane control_;
  MountContext mount_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<qmp::Server> qmp_;
  UniqueFd abort_switch_;
  std::atomic<bool> leaving_ = false;
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
  SignalThread::Block();
  Options options = as_given;
  std::vector<std::string> needed = options.catalog.backing_dirs;
  needed.insert(needed.end(), options.catalog.target_dirs.begin(),
                options.catalog.target_dirs.end());
  needed.insert(needed.end(), options.catalog.data_dirs.begin(), options.catalog.data_dirs.end());
  if (!options.qmp.empty()) needed.push_back(options.qmp.substr(0, options.qmp.rfind('/') + 1));
  for (const SourceSpec& source : options.sources) needed.push_back(source.path);
  CHAINFS_ASSIGN(options.mountpoint, PrepareMountpoint(as_given.mountpoint, needed));
  if (options.catalog.state_directory.empty()) options.catalog.state_directory = StateDirectory();
  // What needs one thread, and all that we may do, comes before the first look at an image.
  CHAINFS_ASSIGN(const std::unique_ptr<Keeper> keeper, Keeper::Start(options));
  if (options.sandbox) {
    options.catalog.targets_anywhere = false;
    for (std::string& directory : RecordedRoots(options.sources, options.catalog)) {
      options.catalog.target_dirs.push_back(std::move(directory));
    }
  }
  CHAINFS_TRY(ConfineDaemon(options));
  CHAINFS_ASSIGN(const std::unique_ptr<Catalog> catalog,
                 Catalog::Open(options.sources, options.catalog));
  CHAINFS_TRY(AwaitImages(*catalog));
  Status served;
  {
    Daemon daemon(options, background, *keeper, *catalog);
    served = daemon.Run();
  }
  const Status closed = catalog->Close();
  CHAINFS_TRY(served);
  return closed;
}

}  // namespace chainfs::fusefs
