// SPDX-License-Identifier: Apache-2.0
//
// Whole chains against a plain buffer: 1 to 8 layers as qemu-img makes them (mixed cluster sizes,
// versions, refcount widths, a raw or qcow2 base, layers shorter and longer than what they are
// built on, a clone beside the chain), opened by the catalog and the job manager as the daemon
// does. Random reads, writes, zeroes, discards, flushes, growth, snapshots, streams with pause,
// resume and cancel, and reopening in their midst; and guest threads, each with stripes of its own,
// while streams run. In the end every layer is clean for `qemu-img check`, `qemu-img convert` reads
// what the buffer says, and every file that was ever frozen shows what it showed when it was
// frozen.
//
// CHAINFS_MODEL_ROUNDS (default 6): how many chains.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include "jobs/engine/job_manager.h"
#include "jobs/job_types.h"
#include "tests/support/command.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/random.h"
#include "tests/support/stream_request.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kSector = 512;
// Of one guest thread; no divisor of any cluster size, so that threads share clusters.
constexpr uint64_t kStripe = 5 * kSector;
constexpr uint64_t kGuests = 3;
constexpr size_t kDeepest = 12;

bool IsOver(const jobs::JobInfo& job) {
  return job.status == jobs::JobStatus::kConcluded || job.status == jobs::JobStatus::kNull;
}

class ChainModel : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  // ---- Making the chain.

  void Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_->path()});
    ASSERT_TRUE(result.ok()) << result.Describe();
  }

  std::string RandomOptions() {
    const uint64_t cluster_bits = 9 + random_.Below(9);
    std::string options = fmt::format("cluster_size={}", 1u << cluster_bits);
    if (random_.OneIn(4)) return options + ",compat=0.10";
    options += fmt::format(",refcount_bits={}", 1u << random_.Below(7));
    if (random_.OneIn(4)) options += ",lazy_refcounts=on";
    if (cluster_bits >= 14 && random_.OneIn(2)) options += ",extended_l2=on";
    return options;
  }

  static std::string FormatOf(const std::string& file) {
    return file.ends_with(".raw") ? "raw" : "qcow2";
  }

  // What qemu reads from a file of the chain, everything below it included.
  Bytes FlatByQemu(const std::string& file) {
    Run({"qemu-img", "convert", "-f", FormatOf(file), "-O", "raw", file, "flat.tmp"});
    const std::string text = ReadTextFile(*dir_ / "flat.tmp");
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    return {data, data + text.size()};
  }

  // Some data of its own in a new layer, by qemu-io.
  void FillByQemu(const std::string& file, uint64_t size) {
    std::vector<std::string> command = {"qemu-io", "-f", FormatOf(file), file};
    for (int i = 0; i < 8; ++i) {
      const uint64_t at = random_.Below(size / kSector) * kSector;
      const uint64_t length =
          std::min(size - at, (1 + random_.Below(size / kSector / 6)) * kSector);
      const char* verbs[] = {"write -P", "write -P", "write -P", "write -z"};
      const std::string verb = verbs[random_.Below(4)];
      command.emplace_back("-c");
      command.push_back(verb == "write -z"
                            ? fmt::format("{} {} {}", verb, at, length)
                            : fmt::format("{} {} {} {}", verb, 1 + random_.Below(255), at, length));
    }
    Run(command);
  }

  void MakeChain() {
    const uint64_t depth = 1 + random_.Below(8);
    std::string below;
    for (uint64_t i = 0; i < depth && !HasFatalFailure(); ++i) {
      const bool is_top = i + 1 == depth;
      const bool raw = i == 0 && !is_top && random_.OneIn(2);
      const std::string stem = is_top ? "vm" : fmt::format("layer{}", i);
      const std::string file = stem + (raw ? ".raw" : ".qcow2");
      const uint64_t size = (400 + random_.Below(1600)) * kSector;
      std::vector<std::string> command = {"qemu-img", "create", "-q", "-f", FormatOf(file)};
      if (!raw) command.insert(command.end(), {"-o", RandomOptions()});
      if (i > 0) command.insert(command.end(), {"-b", below, "-F", FormatOf(below)});
      command.insert(command.end(), {file, std::to_string(size)});
      Run(command);
      if (!HasFatalFailure()) FillByQemu(file, size);
      if (!is_top && !HasFatalFailure()) frozen_[file] = FlatByQemu(file);
      below = file;
    }
    if (depth > 1 && random_.OneIn(2) && !HasFatalFailure()) MakeClone();
    if (!HasFatalFailure()) expected_ = FlatByQemu("vm.qcow2");
  }

  // A second disk on one of the layers; nobody writes it.
  void MakeClone() {
    auto on = frozen_.begin();
    std::advance(on, static_cast<ptrdiff_t>(random_.Below(frozen_.size())));
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", RandomOptions(), "-b", on->first, "-F",
         FormatOf(on->first), "clone.qcow2"});
    if (HasFatalFailure()) return;
    FillByQemu("clone.qcow2", on->second.size());
    if (!HasFatalFailure()) frozen_["clone.qcow2"] = FlatByQemu("clone.qcow2");
  }

  // ---- The daemon.

  void Open() {
    CatalogOptions options;
    // Little memory, so that caches evict.
    options.memory = {
        .index_bytes = 64 << 10, .metadata_bytes = 128 << 10, .decoded_bytes = 1 << 20};
    auto catalog =
        Catalog::Open({{.path = dir_->path(), .name = {}, .format = {}}}, std::move(options));
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    for (const BrokenImage& image : catalog_->Broken()) {
      ADD_FAILURE() << image.name << ": " << image.error.message;
    }
    events_ = std::make_unique<jobs::EventLog>();
    jobs_ = std::make_unique<jobs::JobManager>(*catalog_, *events_, jobs::JobTypes(),
                                               jobs::JobManagerOptions{.threads = 2});
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
    ASSERT_FALSE(disk_->read_only());
    jobs_->ResumeRecorded();
  }

  void Close() {
    jobs_->Shutdown();
    jobs_.reset();
    disk_.reset();
    const Status closed = catalog_->Close();
    ASSERT_TRUE(closed) << closed.error().message;
    catalog_.reset();
    events_.reset();
  }

  // ---- What one guest does, here or in a thread of its own: within [begin, end), bytes.

  Bytes::iterator At(uint64_t offset) { return expected_.begin() + static_cast<ptrdiff_t>(offset); }

  void CompareRange(uint64_t offset, uint64_t length) {
    Bytes data(length);
    const Result<size_t> read = disk_->Read(GuestOffset(offset), data);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(*read, length);
    const auto differs = std::mismatch(data.begin(), data.end(), At(offset));
    ASSERT_TRUE(differs.first == data.end())
        << "at " << offset + static_cast<uint64_t>(differs.first - data.begin()) << " in ["
        << offset << ", " << offset + length << ")";
  }

  // Discard may leave parts as they were.
  void DiscardRange(uint64_t offset, uint64_t length) {
    const Status done = disk_->Discard(GuestOffset(offset), length);
    ASSERT_TRUE(done) << done.error().message;
    Bytes data(length);
    const Result<size_t> read = disk_->Read(GuestOffset(offset), data);
    ASSERT_TRUE(read) << read.error().message;
    for (uint64_t i = 0; i < length; ++i) {
      std::byte& byte = expected_[offset + i];
      if (data[i] == byte) continue;
      ASSERT_EQ(data[i], std::byte{0}) << "discard left a third value at " << offset + i;
      byte = std::byte{0};
    }
  }

  void GuestOperation(Random& random, uint64_t begin, uint64_t end) {
    const uint64_t offset = begin + random.Below(end - begin);
    const uint64_t length = std::min(end - offset, 1 + random.Below(64 * kSector));
    Status done;
    switch (random.Below(10)) {
      case 0:
      case 1:
      case 2:
        return CompareRange(offset, length);
      case 3:
        done = disk_->WriteZeroes(GuestOffset(offset), length, random.OneIn(2));
        std::fill(At(offset), At(offset + length), std::byte{0});
        break;
      case 4:
        return DiscardRange(offset, length);
      case 5:
        done = disk_->Flush();
        break;
      default: {
        Bytes data(length);
        random.Fill(data);
        done = disk_->Write(GuestOffset(offset), data);
        std::ranges::copy(data, At(offset));
      }
    }
    ASSERT_TRUE(done) << done.error().message;
  }

  // Threads whose stripes interleave: they share clusters, never bytes. `size` is what the disk had
  // when they began; it may grow meanwhile.
  void StartGuests(int operations) {
    const uint64_t stripes = expected_.size() / kStripe;
    for (uint64_t guest = 0; guest < kGuests; ++guest) {
      guests_.emplace_back([this, guest, operations, stripes, random = random_.Fork()]() mutable {
        for (int i = 0; i < operations && !HasFailure(); ++i) {
          const uint64_t mine = random.Below(stripes / kGuests) * kGuests + guest;
          GuestOperation(random, mine * kStripe, (mine + 1) * kStripe);
        }
      });
    }
  }
  void JoinGuests() {
    for (std::thread& guest : guests_) guest.join();
    guests_.clear();
  }

  // ---- What the administrator does.

  void Grow() {
    if (expected_.size() > 2500 * kSector) return;
    const uint64_t size = expected_.size() + (1 + random_.Below(300)) * kSector;
    const Status done = disk_->Grow(size);
    ASSERT_TRUE(done) << done.error().message;
    expected_.resize(size);
  }

  // With no guest at work.
  void Snapshot() {
    if (disk_->chain()->depth() >= kDeepest) return;
    SnapshotRequest request;
    request.cluster_bits = 9 + static_cast<uint32_t>(random_.Below(9));
    request.lazy_refcounts = random_.OneIn(4);
    if (random_.OneIn(2)) {
      request.target = fmt::format("{}/snap{}.qcow2", dir_->path(), snapshots_++);
    }
    const LayerPtr frozen = disk_->chain()->active;
    const auto done = catalog_->Snapshot(disk_, request);
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_NE(disk_->chain()->active, frozen);
    frozen_[frozen->name] = expected_;
  }

  // Starts one; false when the chain has nothing for it.
  bool StartStream() {
    const Layers layers = disk_->chain()->AllLayers();
    jobs::StreamRequest request;
    request.disk = "vm";
    size_t top = 0;
    if (layers.size() > 2 && random_.OneIn(2)) top = random_.Below(layers.size() - 1);
    if (layers[top]->image->format() == ImageFormat::kRaw) return false;
    if (top > 0 || random_.OneIn(2)) request.top = layers[top]->path;
    size_t base = layers.size();
    if (top + 1 < layers.size() && random_.OneIn(2)) {
      base = top + 1 + random_.Below(layers.size() - top - 1);
      request.base = layers[base]->path;
    }
    if (random_.OneIn(3)) request.speed = (1 + random_.Below(8)) << 20;
    const auto id = jobs::StartStream(*jobs_, *catalog_, request);
    if (!id) {
      ADD_FAILURE() << id.error().message;
      return false;
    }
    stream_ = *id;
    depth_after_ = layers.size() - (base - top - 1);
    return true;
  }

  void RandomVerb() {
    const auto job = jobs_->Find("vm", stream_);
    ASSERT_TRUE(job);
    if (IsOver(*job)) return;
    // A verb that comes too late is refused; that is no failure.
    switch (random_.Below(4)) {
      case 0:
        (void)jobs_->Pause(catalog_->Find("vm"), stream_);
        break;
      case 1:
        (void)jobs_->Resume(catalog_->Find("vm"), stream_);
        break;
      case 2:
        (void)jobs_->SetSpeed(catalog_->Find("vm"), stream_, random_.OneIn(2) ? 0 : (4 << 20));
        break;
      default:
        if (random_.OneIn(4)) (void)jobs_->Cancel(catalog_->Find("vm"), stream_);
    }
  }

  // To its end, if a pause is all that holds it.
  void FinishStream() {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    for (;;) {
      const auto job = jobs_->Find("vm", stream_);
      ASSERT_TRUE(job);
      if (IsOver(*job)) break;
      if (job->status == jobs::JobStatus::kPaused)
        (void)jobs_->Resume(catalog_->Find("vm"), stream_);
      (void)jobs_->SetSpeed(catalog_->Find("vm"), stream_, 0);
      ASSERT_LT(std::chrono::steady_clock::now(), guard) << "the stream does not end";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const auto job = jobs_->Find("vm", stream_);
    ASSERT_TRUE(job);
    if (job->cancelled) {
      ++cancelled_;
      return;
    }
    ASSERT_FALSE(job->error) << *job->error;
    ++streams_;
    ASSERT_EQ(disk_->chain()->depth(), depth_after_);
  }

  void StreamAmongGuests() {
    StartGuests(25);
    const bool started = StartStream();
    if (started) {
      for (int i = 0; i < 6 && !HasFailure(); ++i) {
        RandomVerb();
        std::this_thread::sleep_for(std::chrono::microseconds(random_.Below(3000)));
      }
    }
    JoinGuests();
    if (!started || HasFailure()) return;
    // The size is in one hand; the guests' stripes are too.
    if (random_.OneIn(2)) Grow();
    if (random_.OneIn(4) && !HasFatalFailure()) {
      Close();
      if (!HasFatalFailure()) Open();
      // Whether it had ended before is not known any more.
      const auto jobs = HasFatalFailure() ? std::vector<jobs::JobInfo>() : jobs_->Jobs("vm");
      if (jobs.empty()) return;
    }
    if (!HasFatalFailure()) FinishStream();
  }

  void Step() {
    switch (random_.Below(16)) {
      case 0:
        return Grow();
      case 1:
      case 2:
        return Snapshot();
      case 3:
      case 4:
      case 5:
        return StreamAmongGuests();
      case 6: {
        StartGuests(15);
        return JoinGuests();
      }
      case 7:
        Close();
        return HasFatalFailure() ? void() : Open();
      default:
        for (int i = 0; i < 6 && !HasFatalFailure(); ++i) {
          GuestOperation(random_, 0, expected_.size());
        }
    }
  }

  void CheckEverything() {
    std::vector<std::string> files;
    for (const LayerPtr& layer : disk_->chain()->AllLayers()) files.push_back(layer->name);
    const std::string active = files.front();
    CompareRange(0, expected_.size());
    if (!HasFatalFailure()) Close();
    if (HasFatalFailure()) return;
    for (const auto& [file, flat] : frozen_) {
      if (std::ranges::find(files, file) == files.end()) files.push_back(file);
    }
    for (const std::string& file : files) {
      if (FormatOf(file) == "qcow2") Run({"qemu-img", "check", "-q", "-f", "qcow2", file});
    }
    EXPECT_EQ(Difference(expected_, FlatByQemu(active)), "");
    for (const auto& [file, flat] : frozen_) {
      EXPECT_EQ(Difference(flat, FlatByQemu(file)), "") << file;
    }
  }

  Random random_;
  std::unique_ptr<TempDir> dir_;
  std::map<std::string, Bytes> frozen_;  // file -> what it shows for ever
  Bytes expected_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<jobs::EventLog> events_;
  std::unique_ptr<jobs::JobManager> jobs_;
  DiskPtr disk_;
  std::vector<std::thread> guests_;
  std::string stream_;
  size_t depth_after_ = 0;
  uint64_t snapshots_ = 0;
  uint64_t streams_ = 0;
  uint64_t cancelled_ = 0;
};

TEST_F(ChainModel, NothingChangesButWhatTheGuestWrites) {
  const uint64_t rounds = FromEnvironment("CHAINFS_MODEL_ROUNDS", 6);
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    const uint64_t seed = random_.Next();
    random_ = Random(seed);
    SCOPED_TRACE(fmt::format("round {}, seed {:#x}", round, seed));
    dir_ = std::make_unique<TempDir>();
    frozen_.clear();
    MakeChain();
    if (!HasFatalFailure()) Open();
    for (int i = 0; i < 40 && !HasFailure(); ++i) Step();
    if (!HasFailure()) CheckEverything();
  }
  std::printf("[   INFO   ] %llu streams, %llu cancelled\n",
              static_cast<unsigned long long>(streams_),
              static_cast<unsigned long long>(cancelled_));
  if (HasFailure() && jobs_ != nullptr) jobs_->Shutdown();
}

}  // namespace
}  // namespace chainfs
