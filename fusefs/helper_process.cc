// SPDX-License-Identifier: Apache-2.0
#include "fusefs/helper_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace chainfs::fusefs {

bool HelperProcess::Start(const std::string& program, std::vector<std::string> words, Files files) {
  if (running()) return false;
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  if (files.input >= 0) {
    ::posix_spawn_file_actions_adddup2(&actions, files.input, STDIN_FILENO);
  } else {
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  if (files.more >= 0) ::posix_spawn_file_actions_adddup2(&actions, files.more, 3);
  // Our threads block what the signal thread waits for.
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return false;
  pid_ = pid;
  return true;
}

std::optional<int> HelperProcess::Ended() {
  if (!running()) return std::nullopt;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return std::nullopt;
  pid_ = 0;
  return ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void HelperProcess::End() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (!Ended() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace chainfs::fusefs
