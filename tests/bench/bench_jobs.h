// SPDX-License-Identifier: Apache-2.0
//
// A job of each kind on a chain of full layers with an empty overlay on top, made ready for one
// contestant at a time: what a job changes is made anew.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tests/bench/bench_contestant.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {

class JobBench {
 public:
  // Makes the chain in `dir`, which should be empty; `run` as for MakeChain. `moves`: the disk
  // moves by the job, to the target of a mirror or the base of a commit.
  JobBench(const Settings& settings, std::string verb, std::string dir, uint64_t run,
           bool moves = false);
  ~JobBench();
  JobBench(const JobBench&) = delete;
  JobBench& operator=(const JobBench&) = delete;

  // Bytes that the job moves.
  double moved() const;
  // A contestant that shows the chain, before the job; the last one is gone.
  std::unique_ptr<Contestant> Start(std::string_view name);
  // What to tell it.
  const BenchJob& job() const { return job_; }

 private:
  const Settings& settings_;
  const std::string dir_;
  const std::string chain_;  // as it was made
  BenchJob job_;
};

}  // namespace chainfs::bench
