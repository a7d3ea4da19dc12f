// SPDX-License-Identifier: Apache-2.0
//
// The loads. fio makes the ordinary ones; two that fio cannot make exactly are our own threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace chainfs::bench {

struct FioJob {
  std::string rw = "randread";
  uint64_t block_size = 4096;
  int threads = 4;
  bool direct = true;
  int seconds = 4;
};

// Bytes a second.
double RunFio(const FioJob& job, const std::string& file);

// Reads the whole file once through the page cache.
void WarmPageCache(const std::string& file);

// Writes 4 KiB once into each cluster of the disk, in random order, O_DIRECT, from `threads`
// threads; writes a second. On an empty overlay every one of them is a first write.
double FirstWrites(const std::string& file, int threads);

// Reads (or writes, with a little rest after each) 4 KiB at random places, O_DIRECT, one at a time,
// as a guest would, until destroyed.
class LatencyProbe {
 public:
  enum class Kind { kReads, kWrites };
  explicit LatencyProbe(const std::string& file, Kind kind = Kind::kReads);
  ~LatencyProbe();
  LatencyProbe(const LatencyProbe&) = delete;
  LatencyProbe& operator=(const LatencyProbe&) = delete;

  // Seconds that 99 of 100 did not exceed, of those that ended between two Now(); and that none
  // exceeded.
  double P99(double from, double to) const;
  double Longest(double from, double to) const;
  void Stop();

 private:
  struct Sample {
    double end;
    double seconds;
  };
  void Run(const std::string& file);
  std::vector<double> Between(double from, double to) const;

  const Kind kind_;
  std::atomic<bool> stop_{false};
  std::vector<Sample> samples_;  // the thread's until Stop
  std::thread thread_;
};

}  // namespace chainfs::bench
