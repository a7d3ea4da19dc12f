// SPDX-License-Identifier: Apache-2.0
#include "fusefs/keeper.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "blocklayer/base/text_values.h"
#include "fusefs/keeper_message.h"
#include "fusefs/keeper_process.h"

namespace chainfs::fusefs {

Result<std::unique_ptr<Keeper>> Keeper::Start(const Options& options) {
  UniqueFd ours;
  UniqueFd its;
  if (!ConnectPair(ours, its)) return FailErrno(errno, "socketpair");
  const pid_t daemon = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno(errno, "fork");
  if (pid == 0) RunKeeper(options, daemon, its.get());
  return std::unique_ptr<Keeper>(new Keeper(std::move(ours), pid));
}

Keeper::~Keeper() {
  {
    const UniqueFd end = std::move(socket_);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (::waitpid(pid_, nullptr, WNOHANG) == 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

UniqueFd Keeper::Ask(const std::vector<std::string>& words) {
  UniqueFd answer;
  UniqueFd its;
  if (!ConnectPair(answer, its)) return UniqueFd();
  const int file = its.get();
  if (!SendMessage(socket_.get(), words, {&file, 1})) return UniqueFd();
  return answer;
}

Status Keeper::Command(const std::vector<std::string>& words, UniqueFd* file) {
  const UniqueFd answer = Ask(words);
  std::optional<KeeperMessage> said;
  if (answer.valid()) said = ReceiveMessage(answer.get());
  if (!said || said->words.empty()) {
    return Fail(ErrorKind::kIo, fmt::format("{}: the keeper process of this mount has ended; "
                                            "unmount it and mount it again",
                                            words.front()));
  }
  const int error = static_cast<int>(ParseNumber(said->words[0]).value_or(EIO));
  if (error != 0) {
    Error failure = FailErrno(error, words.front()).error();
    if (said->words.size() > 1) failure.message = said->words[1];
    return std::unexpected(std::move(failure));
  }
  if (file != nullptr && !said->files.empty()) *file = std::move(said->files.front());
  return {};
}

Result<UniqueFd> Keeper::Mount() {
  UniqueFd connection;
  CHAINFS_TRY(Command({kKeeperMount}, &connection));
  return connection;
}

UniqueFd Keeper::AbortSwitch() {
  UniqueFd abort_switch;
  (void)Command({kKeeperSwitch}, &abort_switch);
  return abort_switch;
}

Status Keeper::Unmount(UnmountMode mode) {
  return Command({kKeeperUnmount, mode == UnmountMode::kLazy ? "lazy" : "polite"});
}

void Keeper::Sync() { (void)Command({kKeeperSync}); }

void Keeper::RaiseReadAhead(unsigned kibibytes) {
  (void)Command({kKeeperReadAhead, fmt::format("{}", kibibytes)});
}

Status Keeper::WritePidFile() { return Command({kKeeperWritePid}); }

void Keeper::RemovePidFile() { (void)Command({kKeeperRemovePid}); }

UniqueFd Keeper::TellLoops(const LoopTask& task) {
  std::vector<std::string> words = WordsOf(task);
  words.insert(words.begin(), kKeeperTellLoops);
  return Ask(words);
}

}  // namespace chainfs::fusefs
