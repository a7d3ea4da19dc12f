// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_umount.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "blocklayer/base/dying_server.h"
#include "blocklayer/base/unique_fd.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/holders.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/unmount.h"

namespace chainfs::chainctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct UmountOptions {
  std::string mount;
  std::optional<double> timeout;  // seconds
};

constexpr int kAnswerWithin = 2000;         // milliseconds; a daemon that hangs is not waited for
constexpr milliseconds kLetGoWithin{2000};  // readers of events
constexpr milliseconds kRemarkAfter{3000};
constexpr double kDefaultTimeout = 60;  // seconds

struct Daemon {
  int pid = 0;
  UniqueFd handle;  // none: it ended already, or lives where we cannot see it
};

// What `ask` returns, or nothing if the daemon does not answer in time: asked in a process of its
// own, because a hanging system call would itself hold the mount.
std::optional<int> AskBriefly(const std::function<int()>& ask) {
  std::array<int, 2> ends = {};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    const int answer = ask();
    static_cast<void>(write(to.get(), &answer, sizeof answer) == sizeof answer);
    _exit(0);
  }
  to = UniqueFd();
  pollfd wanted{.fd = from.get(), .events = POLLIN, .revents = 0};
  int answer = 0;
  const bool answered = poll(&wanted, 1, kAnswerWithin) > 0 &&
                        read(from.get(), &answer, sizeof answer) == sizeof answer;
  kill(child, SIGKILL);
  waitpid(child, nullptr, answered ? 0 : WNOHANG);  // it may be beyond even SIGKILL
  return answered ? std::optional(answer) : std::nullopt;
}

Daemon FindDaemon(const std::string& mount, const std::string& device) {
  Daemon daemon{.pid = DaemonOf(device), .handle = {}};
  if (daemon.pid == 0) {
    daemon.pid = AskBriefly([&] {
                   const Result<nlohmann::json> config = ReadJsonAttribute(mount, "config");
                   const uint64_t pid = config ? NumberOf(*config, "pid") : 0;
                   return pid > INT_MAX ? 0 : static_cast<int>(pid);
                 }).value_or(0);
  }
  if (daemon.pid != 0) {
    daemon.handle = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, daemon.pid, 0)));
  }
  return daemon;
}

std::unexpected<Error> FailBusy(const std::string& mount, const std::vector<Holder>& holders) {
  std::string text =
      holders.empty()
          ? "by whom cannot be seen from here, perhaps by something that waits for its daemon"
          : HoldersText(holders);
  if (geteuid() != 0) text += " (root sees all of them)";
  return FailMounted(EBUSY, fmt::format("{}: in use: {}; end that, then try again", mount, text));
}

// Unmounts; what is only passing (a look of another program, readers of events) is waited for.
Status UnmountWhenFree(const std::string& mount, const std::string& device) {
  const auto until = steady_clock::now() + kLetGoWithin;
  bool asked = false;
  while (true) {
    const Status gone = Unmount(mount);
    if (gone) return {};
    if (gone.error().sys_errno != EBUSY) {
      return FailMounted(gone.error().sys_errno,
                         fmt::format("{}: {}", mount, gone.error().message));
    }
    const std::vector<Holder> holders = FindHolders(mount, device);
    const auto busy = [](const Holder& holder) {
      return !holder.events && holder.kind != Holder::Kind::kNamespace;
    };
    if (steady_clock::now() >= until || std::ranges::any_of(holders, busy)) {
      return FailBusy(mount, holders);
    }
    if (!asked && std::ranges::any_of(holders, &Holder::events)) {
      asked = true;
      const DiskPath root{.path = mount, .mount = mount, .shown = mount};
      AskBriefly([&] { return Send(root, {.verb = "release-events", .value = ""}) ? 1 : 0; });
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
}

bool EndsWithin(const Daemon& daemon, milliseconds time) {
  pollfd wanted{.fd = daemon.handle.get(), .events = POLLIN, .revents = 0};
  return poll(&wanted, 1, static_cast<int>(time.count())) > 0;
}

std::string WhyItLives(const std::string& mount, const std::string& device) {
  const std::vector<Holder> holders = FindHolders(mount, device);
  return holders.empty() ? "it is writing what it holds"
                         : "the mount is still held by " + HoldersText(holders);
}

Result<ExitCode> UnmountAndWait(const UmountOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::string mount, FindMountPoint(options.mount));
  const std::string device = DeviceOfMount(mount);
  const int killed = EndDyingServer(mount, device);
  if (killed != 0 && !common.quiet) {
    Note(fmt::format("umount: daemon {} was killed but could not end; aborted its connection",
                     killed));
  }
  const Daemon daemon = FindDaemon(mount, device);
  // Aborting may have unmounted it.
  if (killed == 0 || DeviceOfMount(mount) == device) CHAINFS_TRY(UnmountWhenFree(mount, device));
  const bool seen = daemon.handle.valid();
  // Bounded so that poll's int cannot overflow.
  const double seconds = std::clamp(options.timeout.value_or(kDefaultTimeout), 0.0, 1e6);
  const milliseconds limit(static_cast<int64_t>(seconds * 1000));
  bool ended = seen && EndsWithin(daemon, std::min(limit, kRemarkAfter));
  if (seen && !ended && limit > kRemarkAfter) {
    if (!common.quiet) {
      Note(fmt::format("umount: waiting for daemon {}: {}", daemon.pid, WhyItLives(mount, device)));
    }
    ended = EndsWithin(daemon, limit - kRemarkAfter);
  }
  if (common.json) {
    Print(OneLine({{"mount", mount},
                   {"unmounted", true},
                   {"pid", daemon.pid},
                   {"daemon-ended", ended || (daemon.pid != 0 && !seen)}}) +
          "\n");
  }
  if (seen && !ended) {
    Note(fmt::format("umount: {}: unmounted, but daemon {} has not ended: {}", mount, daemon.pid,
                     WhyItLives(mount, device)));
    return ExitCode::kStillRunning;
  }
  if (!seen && !common.quiet) {
    Note(fmt::format(
        "umount: {}: unmounted; its daemon was dead, hangs, or cannot be seen from here", mount));
  }
  if (seen && !common.json && !common.quiet) {
    Print(fmt::format("{}: unmounted; the daemon has ended\n", mount));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow UmountVerb() {
  return {.name = "umount",
          .help = "Unmount and wait for the daemon to end",
          .examples =
              "chainctl umount /mnt/images\n"
              "chainctl umount /mnt/images --timeout 300\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<UmountOptions>();
            verb.add_option("MNT", options->mount, "Mount point")->required();
            verb.add_option("--timeout", options->timeout,
                            "Give up waiting after SECONDS (default: 60; exit 4)")
                ->type_name("SECONDS")
                ->check(CLI::NonNegativeNumber);
            return
                [options](const CommonOptions& common) { return UnmountAndWait(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
