// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_load.h says what this is.
#include "tests/bench/bench_load.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_process.h"
#include "tests/support/random.h"

namespace chainfs::bench {
namespace {

constexpr uint64_t kBlock = 4096;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using AlignedBlock = std::unique_ptr<std::byte, Free>;

AlignedBlock NewBlock() {
  return AlignedBlock(static_cast<std::byte*>(std::aligned_alloc(kBlock, kBlock)));
}

int OpenDirect(const std::string& file, int mode) {
  const int fd = open(file.c_str(), mode | O_DIRECT | O_CLOEXEC);
  if (fd < 0) Fail("cannot open " + file + " with O_DIRECT");
  return fd;
}

uint64_t SizeOf(int fd) { return static_cast<uint64_t>(lseek(fd, 0, SEEK_END)); }

}  // namespace

double RunFio(const FioJob& job, const std::string& file) {
  std::vector<std::string> command = {"fio",
                                      "--name=load",
                                      "--filename=" + file,
                                      "--rw=" + job.rw,
                                      fmt::format("--bs={}", job.block_size),
                                      fmt::format("--numjobs={}", job.threads),
                                      fmt::format("--direct={}", job.direct ? 1 : 0),
                                      fmt::format("--runtime={}", job.seconds),
                                      "--time_based",
                                      "--thread",
                                      "--ioengine=psync",
                                      "--group_reporting",
                                      "--invalidate=0",
                                      "--randrepeat=0",
                                      "--allow_file_create=0",
                                      "--output-format=json"};
  const std::string text = RunOrFail(command);
  const size_t start = text.find('{');
  const auto report =
      nlohmann::json::parse(start == std::string::npos ? "" : text.substr(start), nullptr, false);
  if (!report.is_object() || !report.contains("jobs")) Fail("fio said no result: " + text);
  const auto& result = report["jobs"][0];
  return result["read"]["bw_bytes"].get<double>() + result["write"]["bw_bytes"].get<double>();
}

void WarmPageCache(const std::string& file) {
  std::vector<char> buffer(kMiB);
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("cannot open " + file);
  while (read(fd, buffer.data(), buffer.size()) > 0) {
  }
  close(fd);
}

double FirstWrites(const std::string& file, int threads) {
  const int fd = OpenDirect(file, O_RDWR);
  std::vector<uint64_t> clusters(SizeOf(fd) / kClusterSize);
  Random random(2);
  for (size_t i = 0; i < clusters.size(); ++i) clusters[i] = i;
  for (size_t i = clusters.size(); i > 1; --i)
    std::swap(clusters[i - 1], clusters[random.Below(i)]);

  std::atomic<size_t> next{0};
  const auto write_some = [&] {
    const AlignedBlock block = NewBlock();
    std::fill_n(block.get(), kBlock, std::byte{0x5a});
    for (size_t i = next++; i < clusters.size(); i = next++) {
      const uint64_t offset = clusters[i] * kClusterSize + i % (kClusterSize / kBlock) * kBlock;
      if (pwrite(fd, block.get(), kBlock, static_cast<off_t>(offset)) != kBlock) {
        Fail("cannot write to " + file);
      }
    }
  };
  const double start = Now();
  std::vector<std::thread> writers;
  writers.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) writers.emplace_back(write_some);
  for (std::thread& writer : writers) writer.join();
  const double seconds = Now() - start;
  close(fd);
  return static_cast<double>(clusters.size()) / seconds;
}

LatencyProbe::LatencyProbe(const std::string& file, Kind kind)
    : kind_(kind), thread_([this, file] { Run(file); }) {}

LatencyProbe::~LatencyProbe() { Stop(); }

void LatencyProbe::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void LatencyProbe::Run(const std::string& file) {
  constexpr useconds_t kRestUs = 200;
  const bool writes = kind_ == Kind::kWrites;
  const int fd = OpenDirect(file, writes ? O_WRONLY : O_RDONLY);
  const uint64_t blocks = SizeOf(fd) / kBlock;
  const AlignedBlock block = NewBlock();
  std::fill_n(block.get(), kBlock, std::byte{0x5a});
  Random random(3);
  while (!stop_) {
    const double start = Now();
    const auto offset = static_cast<off_t>(random.Below(blocks) * kBlock);
    const ssize_t done =
        writes ? pwrite(fd, block.get(), kBlock, offset) : pread(fd, block.get(), kBlock, offset);
    if (done != kBlock) Fail((writes ? "cannot write to " : "cannot read ") + file);
    const double end = Now();
    samples_.push_back({.end = end, .seconds = end - start});
    if (writes) usleep(kRestUs);
  }
  close(fd);
}

std::vector<double> LatencyProbe::Between(double from, double to) const {
  std::vector<double> seconds;
  for (const Sample& sample : samples_) {
    if (sample.end >= from && sample.end < to) seconds.push_back(sample.seconds);
  }
  if (seconds.empty()) Fail("nothing ended in the time that was to be measured");
  return seconds;
}

double LatencyProbe::Longest(double from, double to) const {
  return std::ranges::max(Between(from, to));
}

double LatencyProbe::P99(double from, double to) const {
  std::vector<double> seconds = Between(from, to);
  const auto place = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() * 99 / 100);
  std::nth_element(seconds.begin(), place, seconds.end());
  return *place;
}

}  // namespace chainfs::bench
