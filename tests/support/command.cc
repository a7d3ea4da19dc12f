// SPDX-License-Identifier: Apache-2.0
#include "tests/support/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace chainfs {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  int read = -1;
  int write = -1;
};

Pipe MakePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    fmt::print(stderr, "test support: cannot make a pipe\n");
    std::abort();
  }
  return {.read = ends[0], .write = ends[1]};
}

void CloseEnd(int& fd) {
  if (fd >= 0) ::close(std::exchange(fd, -1));
}

// Appends what can be read now; closes `fd` at the end of the stream.
void ReadSome(int& fd, std::string& to) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got > 0) {
    to.append(buffer.data(), static_cast<size_t>(got));
  } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
    CloseEnd(fd);
  }
}

// The environment of the test with `added` replacing entries of the same name.
std::vector<std::string> Environment(const std::vector<std::string>& added) {
  std::vector<std::string> result = added;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const bool replaced =
        std::ranges::any_of(added, [&](const std::string& one) { return one.starts_with(name); });
    if (!replaced) result.emplace_back(text);
  }
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& one : strings) pointers.push_back(one.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::string CommandResult::Describe() const {
  return fmt::format("exit code {}{}\nstdout: {}\nstderr: {}", exit_code,
                     timed_out ? " (killed: it hung)" : "", out, err);
}

Command::Command(const std::vector<std::string>& arguments, const CommandOptions& options)
    : deadline_(Clock::now() + options.guard) {
  Pipe in = MakePipe();
  Pipe out = MakePipe();
  Pipe err = MakePipe();
  std::vector<std::string> arg_strings = arguments;
  std::vector<std::string> env_strings = Environment(options.environment);
  std::vector<char*> arg_pointers = Pointers(arg_strings);
  std::vector<char*> env_pointers = Pointers(env_strings);
  const char* directory =
      options.working_directory.empty() ? nullptr : options.working_directory.c_str();
  // Only async-signal-safe calls between fork and exec: the test may have threads.
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    ::dup2(in.read, STDIN_FILENO);
    ::dup2(out.write, STDOUT_FILENO);
    ::dup2(err.write, STDERR_FILENO);
    ::signal(SIGPIPE, SIG_DFL);
    if (directory == nullptr || ::chdir(directory) == 0) {
      ::execvpe(arg_pointers[0], arg_pointers.data(), env_pointers.data());
    }
    constexpr std::string_view kMessage = "test support: cannot run the program\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    ::_exit(127);
  }
  CloseEnd(in.read);
  CloseEnd(out.write);
  CloseEnd(err.write);
  in_ = in.write;
  out_ = out.read;
  err_ = err.read;
  ::fcntl(out_, F_SETFL, O_NONBLOCK);
  ::fcntl(err_, F_SETFL, O_NONBLOCK);
}

Command::~Command() {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  CloseEnd(in_);
  CloseEnd(out_);
  CloseEnd(err_);
}

void Command::Signal(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

bool Command::Write(const std::string& text) const {
  // A program that is gone must not take the test with it.
  struct sigaction ignore = {};
  struct sigaction before = {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  size_t done = 0;
  while (in_ >= 0 && done < text.size()) {
    const ssize_t put = ::write(in_, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) break;
    done += static_cast<size_t>(put);
  }
  ::sigaction(SIGPIPE, &before, nullptr);
  return done == text.size();
}

void Command::CloseInput() { CloseEnd(in_); }

bool Command::Pump(Clock::time_point deadline) {
  if (out_ < 0 && err_ < 0) return false;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  std::array<pollfd, 2> polls = {
      {{.fd = out_, .events = POLLIN, .revents = 0}, {.fd = err_, .events = POLLIN, .revents = 0}}};
  ::poll(polls.data(), polls.size(), static_cast<int>(std::clamp<long long>(left, 0, 100)));
  if (polls[0].revents != 0) ReadSome(out_, result_.out);
  if (polls[1].revents != 0) ReadSome(err_, result_.err);
  return true;
}

bool Command::WaitForOutput(const std::string& text) {
  for (;;) {
    const size_t at = result_.out.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    if (Clock::now() >= deadline_ || !Pump(deadline_)) return false;
  }
}

std::optional<std::string> Command::WaitForLine(const std::string& text) {
  if (!WaitForOutput(text)) return std::nullopt;
  const size_t start = seen_;
  if (!WaitForOutput("\n")) return std::nullopt;
  std::string line = result_.out.substr(start, seen_ - 1 - start);
  std::erase(line, '\r');
  return line;
}

CommandResult Command::Wait() {
  CloseEnd(in_);
  // A grandchild may keep the streams open for ever (a daemon): the end of the program counts too.
  int status = 0;
  bool reaped = false;
  for (;;) {
    const bool open = Pump(deadline_);
    if (!reaped && pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) reaped = true;
    if (reaped) {
      while (Pump(Clock::now())) {
        const size_t before = result_.out.size() + result_.err.size();
        Pump(Clock::now());
        if (result_.out.size() + result_.err.size() == before) break;
      }
      break;
    }
    if (Clock::now() >= deadline_) {
      result_.timed_out = true;
      ::kill(-pid_, SIGKILL);
      ::kill(pid_, SIGKILL);
    }
    if (!open || result_.timed_out) {
      // Streams closed early; do not spin while it ends.
      ::poll(nullptr, 0, 2);
    }
  }
  pid_ = -1;
  result_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

CommandResult RunCommand(const std::vector<std::string>& arguments, const CommandOptions& options) {
  Command command(arguments, options);
  if (!options.input.empty()) command.Write(options.input);
  return command.Wait();
}

}  // namespace chainfs
