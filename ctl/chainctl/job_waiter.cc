// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_waiter.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "ctl/chainctl/events_reader.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/verbs/arguments.h"

namespace chainfs::chainctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollInterval{500};     // where there are no events
constexpr milliseconds kSafetyInterval{5000};  // should an event ever be lost

// Whether the line may tell of a change of the job's state.
bool Concerns(const std::string& line, const std::string& id) {
  const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
  if (event.is_discarded()) return true;
  const std::string name = TextOf(event, "event");
  if (name == "LOST" || name == "SHUTDOWN") return true;
  return TextOf(event, "id") == id && name != "JOB_PROGRESS";
}

class Waiter {
 public:
  Waiter(const DiskPath& disk, const std::string& id, WaitSignals& signals,
         const WaitOptions& options)
      : disk_(disk),
        id_(id),
        signals_(signals),
        on_interrupt_(options.on_interrupt),
        until_ready_(options.until_ready),
        bar_(options.progress),
        quiet_(options.progress.quiet) {
    if (options.timeout) {
      // Bounded so that the clock's arithmetic cannot overflow: a year is as good as for ever.
      const double seconds = std::clamp(*options.timeout, 0.0, 366.0 * 86400);
      deadline_ = steady_clock::now() +
                  std::chrono::duration_cast<milliseconds>(std::chrono::duration<double>(seconds));
    }
    if (Result<EventsReader> events = EventsReader::Open(disk.mount)) {
      events_.emplace(std::move(*events));
    }
  }

  Result<WaitOutcome> Run();

 private:
  Result<JobReport> Look() { return ReadJob(disk_, id_); }
  milliseconds Patience() const;
  // Waits for an event, a signal or the end of patience.
  void Pause();
  void AskToStop();
  // Says once that the job stands still and what to do.
  void RemarkOn(const JobReport& job);

  const DiskPath& disk_;
  const std::string& id_;
  WaitSignals& signals_;
  const OnInterrupt on_interrupt_;
  const bool until_ready_;
  ProgressBar bar_;
  const bool quiet_;
  std::optional<EventsReader> events_;
  std::optional<steady_clock::time_point> deadline_;
  int interrupts_ = 0;
  bool show_ = false;
  bool stuck_ = false;  // and said so
};

milliseconds Waiter::Patience() const {
  milliseconds patience = std::min(bar_.interval(), events_ ? kSafetyInterval : kPollInterval);
  if (deadline_) {
    const auto left = std::chrono::ceil<milliseconds>(*deadline_ - steady_clock::now());
    patience = std::min(patience, std::max(left, milliseconds(0)));
  }
  return patience;
}

void Waiter::Pause() {
  const auto until = steady_clock::now() + Patience();
  while (true) {
    std::array<pollfd, 2> wanted = {
        pollfd{.fd = signals_.fd(), .events = POLLIN, .revents = 0},
        pollfd{.fd = events_ ? events_->fd() : -1, .events = POLLIN, .revents = 0}};
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    if (left.count() < 0) return;
    if (poll(wanted.data(), wanted.size(), static_cast<int>(left.count())) <= 0) return;
    if (wanted[0].revents != 0) {
      const int signal = signals_.Take();
      interrupts_ += signal == SIGINT ? 1 : 0;
      show_ = show_ || signal == SIGUSR1;
      return;
    }
    const Result<std::vector<std::string>> lines = events_->Read();
    if (!lines || events_->at_end()) {
      events_.reset();  // the attribute tells the rest
      return;
    }
    if (std::ranges::any_of(*lines, [&](const auto& line) { return Concerns(line, id_); })) return;
    // "Readable" without news would otherwise be a busy loop.
    if (lines->empty()) std::this_thread::sleep_for(milliseconds(50));
  }
}

void Waiter::AskToStop() {
  bar_.ClearLine();
  Note(fmt::format("cancelling {}; Ctrl-C again leaves it running", id_));
  const Status sent =
      Send(disk_, {.verb = "cancel", .value = verbs::Arguments().Set("id", id_).Format()});
  // It may just have concluded, or be stopping already; the next look tells.
  if (!sent && sent.error().sys_errno != EINVAL && sent.error().sys_errno != ESRCH) {
    Note(sent.error().message);
  }
}

void Waiter::RemarkOn(const JobReport& job) {
  const bool stuck = job.paused_by_error() || job.waits_to_be_taken_up();
  if (stuck && !stuck_ && !quiet_) {
    bar_.ClearLine();
    Note(fmt::format("{}: {}: {}", disk_.shown, id_, AdviceFor(job, disk_.shown)));
  }
  stuck_ = stuck;
}

Result<WaitOutcome> Waiter::Run() {
  int answered = 0;  // interrupts
  while (true) {
    CHAINFS_ASSIGN(JobReport job, Look());
    if (job.concluded()) {
      bar_.Finish(job);
      return WaitOutcome{.end = WaitEnd::kConcluded, .job = std::move(job)};
    }
    if (until_ready_ && job.status == "ready") {
      bar_.Finish(job);
      return WaitOutcome{.end = WaitEnd::kReady, .job = std::move(job)};
    }
    if (interrupts_ > answered) {
      answered = interrupts_;
      if (interrupts_ > 1 || on_interrupt_ == OnInterrupt::kDetach) {
        bar_.Finish(job);
        return WaitOutcome{.end = WaitEnd::kDetached, .job = std::move(job)};
      }
      AskToStop();
      continue;
    }
    if (deadline_ && steady_clock::now() >= *deadline_) {
      bar_.Finish(job);
      return WaitOutcome{.end = WaitEnd::kTimedOut, .job = std::move(job)};
    }
    RemarkOn(job);
    if (show_) {
      bar_.ShowOnce(job);
    } else {
      bar_.Update(job);
    }
    show_ = false;
    Pause();
  }
}

}  // namespace

WaitSignals::WaitSignals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &wanted, &before_);
  fd_ = UniqueFd(signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
}

WaitSignals::~WaitSignals() {
  // What came after the last look must not kill the program while it reports.
  while (Take() != 0) {
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int WaitSignals::Take() {
  signalfd_siginfo info = {};
  const ssize_t got = read(fd_.get(), &info, sizeof info);
  return got == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
}

Result<WaitOutcome> WaitForJob(const DiskPath& disk, const std::string& id, WaitSignals& signals,
                               const WaitOptions& options) {
  return Waiter(disk, id, signals, options).Run();
}

}  // namespace chainfs::chainctl
