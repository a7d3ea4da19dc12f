// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/progress_bar.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

constexpr auto kLineInterval = std::chrono::seconds(10);
constexpr size_t kWidestBar = 30;
constexpr size_t kNarrowestBar = 8;

}  // namespace

std::string FormatProgress(const JobReport& job, size_t width) {
  const std::string name = fmt::format("{} {}", job.type, job.id);
  std::string facts =
      fmt::format("{:5.1f}%  {}/{}", job.percent(), FormatSize(job.current), FormatSize(job.total));
  if (job.status == "running") {
    if (job.rate > 0) facts += "  " + FormatRate(job.rate);
    if (job.eta) facts += "  eta " + FormatDuration(*job.eta);
  } else {
    facts += "  " + job.status;
  }
  const size_t taken = name.size() + 2 + facts.size();
  std::string line = name + "  ";
  if (width >= taken + kNarrowestBar + 4) {
    const size_t bar = std::min(kWidestBar, width - taken - 4);
    const auto filled = static_cast<size_t>(job.percent() / 100 * static_cast<double>(bar));
    line += '[' + std::string(filled, '#') + std::string(bar - filled, '-') + "]  ";
  }
  line += facts;
  if (line.size() > width) line.resize(width);
  return line;
}

ProgressBar::ProgressBar(const Options& options)
    : options_(options),
      terminal_(isatty(STDERR_FILENO) == 1),
      last_line_(std::chrono::steady_clock::now()) {
  // Whoever reads the percentages may go away; that is no reason to stop waiting.
  if (options_.percent_fd) std::signal(SIGPIPE, SIG_IGN);
}

std::chrono::milliseconds ProgressBar::interval() const {
  if (options_.percent_fd) return std::chrono::milliseconds(500);
  if (options_.quiet) return std::chrono::hours(1);
  return std::chrono::milliseconds(terminal_ ? 250 : 1000);
}

void ProgressBar::WritePercent(const JobReport& job) {
  if (!options_.percent_fd) return;
  const int percent = static_cast<int>(job.percent());
  if (percent == last_percent_) return;
  last_percent_ = percent;
  static_cast<void>(dprintf(*options_.percent_fd, "%d/100\n", percent));
}

void ProgressBar::Update(const JobReport& job) {
  WritePercent(job);
  if (options_.quiet) return;
  if (terminal_) {
    ShowOnce(job);
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - last_line_ < kLineInterval) return;
  ShowOnce(job);
}

void ProgressBar::ShowOnce(const JobReport& job) {
  last_line_ = std::chrono::steady_clock::now();
  if (terminal_) {
    // One column is left free: writing into the last one wraps on some terminals.
    fmt::print(stderr, "\r\033[K{}", FormatProgress(job, TerminalWidth(stderr) - 1));
    drawn_ = true;
  } else {
    fmt::print(stderr, "{}\n", FormatProgress(job, 200));
  }
  std::fflush(stderr);
}

void ProgressBar::Finish(const JobReport& job) {
  if (job.concluded()) WritePercent(job);
  ClearLine();
}

void ProgressBar::ClearLine() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace chainfs::chainctl
