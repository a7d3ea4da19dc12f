// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_process.h says what this is.
#include "tests/bench/bench_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tests/support/command.h"

namespace chainfs::bench {
namespace {

constexpr double kPatienceSeconds = 60;

std::string Contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

void Fail(std::string_view message) {
  fmt::print(stderr, "bench: {}\n", message);
  std::exit(1);
}

std::string RunOrFail(const std::vector<std::string>& arguments, const std::string& input) {
  CommandOptions options;
  options.guard = std::chrono::hours(1);
  options.input = input;
  const CommandResult result = RunCommand(arguments, options);
  if (!result.ok()) Fail(fmt::format("{} failed: {}", arguments[0], result.Describe()));
  return result.out;
}

double Now() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void WaitFor(std::string_view what, const std::function<bool()>& ready) {
  const double start = Now();
  while (!ready()) {
    if (Now() - start > kPatienceSeconds) Fail(fmt::format("gave up waiting for {}", what));
    usleep(1000);
  }
}

Server::Server(const std::vector<std::string>& arguments, const std::string& log)
    : program_(arguments[0]), log_(log) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out < 0 || in < 0) Fail(fmt::format("cannot write {}", log));
  pid_ = fork();
  if (pid_ < 0) Fail("cannot fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execvp(argv[0], argv.data());
    dprintf(STDERR_FILENO, "cannot run %s\n", argv[0]);
    _exit(127);
  }
  close(out);
  close(in);
}

Server::~Server() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

void Server::WaitUntil(std::string_view what, const std::function<bool()>& ready) {
  WaitFor(what, [&] {
    if (waitpid(pid_, nullptr, WNOHANG) != pid_) return ready();
    pid_ = -1;
    Fail(fmt::format("{} ended while waiting for {}; it said: {}", program_, what, Contents(log_)));
  });
}

uint64_t Server::ResidentBytes() const {
  std::ifstream status(fmt::format("/proc/{}/status", pid_));
  std::string key;
  uint64_t kibibytes = 0;
  while (status >> key) {
    if (key == "VmRSS:" && status >> kibibytes) return kibibytes * 1024;
  }
  Fail(fmt::format("{} has no resident size", program_));
}

}  // namespace chainfs::bench
