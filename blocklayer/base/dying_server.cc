// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/dying_server.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "blocklayer/base/abort_switch.h"

namespace chainfs {
namespace {

constexpr std::chrono::seconds kEndsWithin{5};

// Numbers in a directory of /proc; nothing when it cannot be read or is going.
std::vector<std::string> NumbersIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code failed;
  for (std::filesystem::directory_iterator at(directory, failed);
       !failed && at != std::filesystem::directory_iterator(); at.increment(failed)) {
    std::string name = at->path().filename().string();
    if (std::isdigit(static_cast<unsigned char>(name.front())) != 0) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

// proc_pid_status(5): sets of signals as hexadecimal masks.
bool HasKillPending(const std::string& task) {
  std::ifstream status(fmt::format("{}/status", task));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigPnd:\t") && !line.starts_with("ShdPnd:\t")) continue;
    uint64_t set = 0;
    std::from_chars(line.data() + 8, line.data() + line.size(), set, 16);
    if ((set >> (SIGKILL - 1) & 1) != 0) return true;
  }
  return false;
}

bool Serves(const std::string& task, std::string_view device) {
  const std::string_view connection = device.substr(2);
  for (const std::string& fd : NumbersIn(fmt::format("{}/fd", task))) {
    const std::string entry = fmt::format("{}/fd/{}", task, fd);
    if (IsAbortSwitch(entry, device)) return true;
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) != "/dev/fuse") continue;
    std::ifstream facts(fmt::format("{}/fdinfo/{}", task, fd));
    for (std::string key, value; facts >> key >> value;) {
      if (key == "fuse_connection:" && value == connection) return true;
    }
  }
  return false;
}

}  // namespace

int DyingServerOf(const std::string& device, const std::string& proc) {
  if (!device.starts_with("0:")) return 0;
  for (const std::string& process : NumbersIn(proc)) {
    // The first thread may have ended, and then shows no files.
    const std::string tasks = fmt::format("{}/{}/task", proc, process);
    const std::vector<std::string> all = NumbersIn(tasks);
    const auto any = [&](const auto& holds) {
      return std::ranges::any_of(
          all, [&](const std::string& task) { return holds(fmt::format("{}/{}", tasks, task)); });
    };
    if (!any(HasKillPending)) continue;
    if (!any([&](const std::string& task) { return Serves(task, device); })) continue;
    int pid = 0;
    std::from_chars(process.data(), process.data() + process.size(), pid);
    return pid;
  }
  return 0;
}

int EndDyingServer(const std::string& mount, const std::string& device) {
  const int pid = DyingServerOf(device);
  if (pid == 0) return 0;
  // Without a switch, for root: it aborts the connection whether or not the mount can go.
  if (!AbortConnection(OpenAbortSwitch(device))) {
    static_cast<void>(::umount2(mount.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW));
  }
  const auto until = std::chrono::steady_clock::now() + kEndsWithin;
  while (DyingServerOf(device) == pid) {
    if (std::chrono::steady_clock::now() >= until) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return pid;
}

}  // namespace chainfs
