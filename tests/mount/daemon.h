// SPDX-License-Identifier: Apache-2.0
//
// Daemon: the real chainfs, serving a real mount for one test. It stays in the foreground as the
// test's own process, is waited for with a bound until it serves, and the mount is gone when the
// object is, whatever happened to the daemon.
//
//     Daemon daemon({dir / "images"});
//     ... open(daemon / "vm1.raw") ...
//
// Killed by KillHard, it leaves a dead mount, as a crash does; Restart starts another one on it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

// A program of this build.
inline std::string BinaryPath(const std::string& name) {
  const char* const directory = std::getenv("CHAINFS_BIN_DIR");
  return std::string(directory != nullptr ? directory : "bin") + "/" + name;
}

class Daemon {
 public:
  // `options` come before the sources: {"-o", "ro"}. Check serving() or use ASSERT_TRUE on it.
  explicit Daemon(std::vector<std::string> sources, std::vector<std::string> options = {})
      : sources_(std::move(sources)), options_(std::move(options)) {
    WriteTextFile(log_, "");
    Start();
  }
  ~Daemon() {
    if (command_ != nullptr) Stop();
    // What killed daemons have left, one upon the other.
    while (::umount2(mountpoint_.path().c_str(), MNT_DETACH) == 0) {
    }
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  const std::string& path() const { return mountpoint_.path(); }
  // path()/name
  std::string operator/(std::string_view name) const { return mountpoint_ / name; }
  bool serving() const { return serving_; }
  // 0 once it has ended.
  pid_t pid() const { return command_ != nullptr ? command_->pid() : 0; }
  // What the last one that ended said.
  const CommandResult& result() const { return result_; }

  // SIGTERM, and waits for the end. The daemon's exit code and messages.
  CommandResult Stop() {
    if (command_ == nullptr) return result_;
    command_->Signal(SIGTERM);
    return WaitForEnd();
  }
  // umount(2), and waits for the daemon to end.
  CommandResult Unmount() {
    if (::umount2(path().c_str(), 0) != 0)
      ADD_FAILURE() << "umount " << path() << ": errno " << errno;
    return WaitForEnd();
  }
  // SIGKILL; the dead mount stays (every access fails with ENOTCONN).
  void KillHard() {
    command_->Signal(SIGKILL);
    WaitForEnd();
  }
  // Without waiting for it any longer.
  bool EndsWithin(std::chrono::seconds patience) const {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!Ended()) {
      if (std::chrono::steady_clock::now() >= until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  CommandResult WaitForEnd() {
    result_ = command_->Wait();
    result_.err = Log();
    command_.reset();
    serving_ = false;
    return result_;
  }
  // Whether the one that was started last has, before it is waited for.
  bool Ended() const {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(command_->pid()), &info,
                    WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  }
  // All that it has logged so far.
  std::string Log() const { return ReadTextFile(log_); }
  // On the same mount point, after the previous one has ended. With other options if given.
  bool Restart() {
    Start();
    return serving_;
  }
  bool Restart(std::vector<std::string> options) {
    options_ = std::move(options);
    return Restart();
  }

 private:
  static constexpr std::chrono::seconds kGuard{120};

  void Start() {
    // Its messages go to a file: a full pipe would stop it.
    std::vector<std::string> words = {
        "/bin/sh",
        "-c",
        "log=$1; shift; export STATE_DIRECTORY=$1; shift; exec \"$@\" 2>>\"$log\"",
        "sh",
        log_,
        state_.path(),
        BinaryPath("chainfs"),
        "-f"};
    words.insert(words.end(), options_.begin(), options_.end());
    words.insert(words.end(), sources_.begin(), sources_.end());
    words.push_back(path());
    command_ = std::make_unique<Command>(words, CommandOptions{.guard = std::chrono::seconds(900)});
    const auto deadline = std::chrono::steady_clock::now() + kGuard;
    while (std::chrono::steady_clock::now() < deadline) {
      if (Serves()) {
        serving_ = true;
        return;
      }
      if (Ended()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (!Ended()) command_->Signal(SIGKILL);
    WaitForEnd();
  }

  // A FUSE file system is there and answers.
  bool Serves() const {
    constexpr auto kFuseMagic = 0x65735546;
    struct statfs fs = {};
    return ::statfs(path().c_str(), &fs) == 0 && fs.f_type == kFuseMagic;
  }

  const TempDir logs_;
  const std::string log_ = logs_ / "log";
  const TempDir state_;
  const TempDir mountpoint_;
  const std::vector<std::string> sources_;
  std::vector<std::string> options_;
  std::unique_ptr<Command> command_;
  bool serving_ = false;
  CommandResult result_;
};

// getxattr as a program does it; the errno name in angle brackets ("<ENODATA>") on failure.
inline std::string GetAttribute(const std::string& path, const std::string& name) {
  std::string value(65536, '\0');
  const ssize_t size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return std::string("<") + strerrorname_np(errno) + ">";
  value.resize(static_cast<size_t>(size));
  return value;
}

// setxattr; 0, or the errno.
inline int SetAttribute(const std::string& path, const std::string& name, std::string_view value,
                        int flags = 0) {
  return ::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags) == 0 ? 0 : errno;
}

}  // namespace chainfs
