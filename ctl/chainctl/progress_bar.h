// SPDX-License-Identifier: Apache-2.0
//
// Progress of a job for people (stderr) and for programs (a file descriptor). On a terminal one
// line is redrawn in place; elsewhere a line every 10 seconds; `N/100` lines on the descriptor, as
// nbdcopy writes them.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "ctl/chainctl/job_report.h"

namespace chainfs::chainctl {

// "stream j1  [####----]  41.7%  1.2 GiB/2.9 GiB  180 MiB/s  eta 0:09", at most `width`
// characters; the bar goes first when room is short, then the line is cut.
std::string FormatProgress(const JobReport& job, size_t width);

class ProgressBar {
 public:
  struct Options {
    bool quiet = false;             // nothing on stderr
    std::optional<int> percent_fd;  // for programs
  };
  explicit ProgressBar(const Options& options);

  // How often Update is worth calling.
  std::chrono::milliseconds interval() const;
  void Update(const JobReport& job);
  // Now, whatever the time (SIGUSR1).
  void ShowOnce(const JobReport& job);
  // The last word of a job: erases the line on a terminal and writes 100/100 if it is done.
  void Finish(const JobReport& job);
  // Leaves the cursor at the beginning of an empty line, for messages.
  void ClearLine();

 private:
  void WritePercent(const JobReport& job);

  const Options options_;
  const bool terminal_;
  bool drawn_ = false;
  int last_percent_ = -1;
  std::chrono::steady_clock::time_point last_line_;
};

}  // namespace chainfs::chainctl
