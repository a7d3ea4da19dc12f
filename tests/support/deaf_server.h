// SPDX-License-Identifier: Apache-2.0
//
// DeafServer: a process that mounts a FUSE file system of the type of chainfs, and answers nothing
// once it is mounted. What it does to its own mount waits for ever, as a daemon's thread can at the
// moment at which the daemon is killed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "blocklayer/base/abort_switch.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

class DeafServer {
 public:
  using Use = std::function<void(const std::string& mountpoint)>;

  // `use` is called on a thread of the server; the first statfs of the mount is taken on return.
  explicit DeafServer(const Use& use) {
    int ends[2] = {};
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      Serve(ends[1], use);
    }
    ::close(ends[1]);
    char said = 0;
    serving_ = ::read(ends[0], &said, 1) == 1;
    ::close(ends[0]);
  }
  ~DeafServer() {
    if (pid_ <= 0) return;
    Kill();
    // Ends the connection, if nothing else has.
    ::umount2(path().c_str(), MNT_FORCE);
    ::umount2(path().c_str(), MNT_DETACH);
    ::waitpid(pid_, nullptr, 0);
  }
  DeafServer(const DeafServer&) = delete;
  DeafServer& operator=(const DeafServer&) = delete;

  // False where there is no /dev/fuse, or this user may not mount.
  bool serving() const { return serving_; }
  const std::string& path() const { return dir_.path(); }
  pid_t pid() const { return pid_; }
  std::string device() const { return DeviceOf(path()); }
  void Kill() const { ::kill(pid_, SIGKILL); }
  // All of its threads, within so many seconds.
  bool EndsWithin(int seconds) const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!HasEnded()) {
      if (std::chrono::steady_clock::now() >= until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

 private:
  static std::string DeviceOf(const std::string& path) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string device;
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream words(line);
      std::string id;
      std::string above;
      std::string number;
      std::string root;
      std::string where;
      words >> id >> above >> number >> root >> where;
      if (where == path) device = number;
    }
    return device;
  }

  // Without reaping it.
  bool HasEnded() const {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  }

  [[noreturn]] void Serve(int told, const Use& use) const {
    const int fuse = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    const std::string options =
        "fd=" + std::to_string(fuse) + ",rootmode=40000,user_id=0,group_id=0";
    if (fuse < 0 || ::mount("deaf", path().c_str(), "fuse.chainfs", MS_NOSUID | MS_NODEV,
                            options.c_str()) != 0) {
      ::_exit(1);
    }
    // As chainfs does; it tells which connection is ours.
    const UniqueFd abort_switch = OpenAbortSwitch(DeviceOf(path()));
    std::thread([this, &use] { use(path()); }).detach();
    alignas(fuse_in_header) std::array<std::byte, 1 << 17> request = {};
    for (;;) {
      if (::read(fuse, request.data(), request.size()) < 0) ::_exit(1);
      fuse_in_header header = {};
      std::memcpy(&header, request.data(), sizeof header);
      if (header.opcode == FUSE_INIT) AnswerInit(fuse, header.unique);
      if (header.opcode == FUSE_STATFS && ::write(told, "s", 1) != 1) ::_exit(1);
    }
  }
  static void AnswerInit(int fuse, uint64_t request) {
    struct {
      fuse_out_header header = {};
      fuse_init_out init = {};
    } answer;
    answer.header.len = sizeof answer;
    answer.header.unique = request;
    answer.init.major = FUSE_KERNEL_VERSION;
    answer.init.minor = 31;
    answer.init.max_write = 4096;
    if (::write(fuse, &answer, sizeof answer) < 0) ::_exit(1);
  }

  const TempDir dir_;
  pid_t pid_ = -1;
  bool serving_ = false;
};

}  // namespace chainfs
