// SPDX-License-Identifier: Apache-2.0
//
// Everything of an image that grows (refcount table, refcount blocks, L2 tables, L1 table), with a
// commit under way: the commit is held at each of its steps while the growth goes as far as each of
// its own, then the commit ends, then the growth. The crash states of all of it have no corruption:
// no refcount on disk is lower than its references, and the header names nothing that is not there.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/crash_enumerator.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kSize = 16 << 20;
constexpr uint64_t kPiece = 4096;  // bytes of one guest write
constexpr uint64_t kUncommitted = 40;

// A thread that can be held before its n-th change of the file.
class Actor {
 public:
  Actor(std::function<Status()> work, size_t stop) : work_(std::move(work)), stop_(stop) {}
  ~Actor() { Finish(); }

  void Start() {
    thread_ = std::thread([this] {
      {
        MutexLock lock(mu_);
        id_ = std::this_thread::get_id();
      }
      const Status done = work_();
      MutexLock lock(mu_);
      EXPECT_TRUE(done) << done.error().message;
      done_ = true;
      changed_.NotifyAll();
    });
  }
  // From the hook of the host.
  void OnCall(const HostCall& call) {
    MutexLock lock(mu_);
    if (std::this_thread::get_id() != id_) return;
    if (calls_.size() == stop_) {
      stopped_ = true;
      changed_.NotifyAll();
      while (stop_ != SIZE_MAX) changed_.Wait(mu_);
    }
    calls_.push_back(call);
    changed_.NotifyAll();
  }
  // Until it stopped, ended or made `calls` calls; or a while, if it waits for somebody else.
  void WaitFor(size_t calls, std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    MutexLock lock(mu_);
    while (!stopped_ && !done_ && calls_.size() < calls) {
      if (!changed_.WaitUntil(mu_, deadline)) return;
    }
  }
  void GoOn() {
    MutexLock lock(mu_);
    stop_ = SIZE_MAX;
    stopped_ = false;
    changed_.NotifyAll();
  }
  void Finish() {
    GoOn();
    if (thread_.joinable()) thread_.join();
  }
  std::vector<HostCall> calls() {
    MutexLock lock(mu_);
    return calls_;
  }

 private:
  const std::function<Status()> work_;
  Mutex mu_;
  CondVar changed_;
  std::thread::id id_ GUARDED_BY(mu_);
  size_t stop_ GUARDED_BY(mu_);
  bool stopped_ GUARDED_BY(mu_) = false;
  bool done_ GUARDED_BY(mu_) = false;
  std::vector<HostCall> calls_ GUARDED_BY(mu_);
  std::thread thread_;
};

// Where it is worth holding somebody: first, before and after syncs, before the header, never.
std::vector<size_t> StepsOf(const std::vector<HostCall>& calls) {
  std::vector<size_t> steps;
  for (size_t i = 0; i < calls.size(); ++i) {
    const bool header = calls[i].op == HostOp::kWrite && calls[i].offset == 0;
    if (i == 0 || calls[i].op == HostOp::kDataSync || calls[i - 1].op == HostOp::kDataSync ||
        header) {
      steps.push_back(i);
    }
  }
  steps.push_back(SIZE_MAX);
  return steps;
}

class GrowthCrash : public ::testing::Test {
 protected:
  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    if (!file) return nullptr;
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    if (!image) {
      ADD_FAILURE() << image.error().message;
      return nullptr;
    }
    return *std::move(image);
  }
  static Status WritePiece(WritableImage& image, uint64_t piece) {
    const std::vector<std::byte> data(kPiece, std::byte{0x5a});
    return image.Write(GuestOffset(piece * kPiece), data, nullptr);
  }
  static uint64_t RefcountTable(const std::shared_ptr<MemHost>& host) {
    std::array<std::byte, 64> header;
    const auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    EXPECT_TRUE((*file)->ReadZeroFilled(HostOffset(0), header));
    return LoadBigEndian<uint64_t>(header.data() + qcow2::kOffsetRefcountTable);
  }

  // A closed image of clean tables with `pieces` pieces; 64-bit refcounts, so that all is small.
  void Prepare(uint64_t pieces) {
    const auto host = MemHost::Create();
    ASSERT_TRUE(CreateQcow2(*host->OpenRoot(), "a.qcow2",
                            {.virtual_size = kSize, .cluster_bits = 9, .refcount_order = 6}));
    const std::unique_ptr<WritableImage> image = Open(host);
    for (uint64_t i = 0; i < pieces; ++i) {
      ASSERT_TRUE(WritePiece(*image, i));
      if (i % 16 == 0) {
        ASSERT_TRUE(image->Flush());
      }
    }
    ASSERT_TRUE(image->Close());
    pieces_ = pieces;
    base_ = host->Snapshot();
  }
  // How many pieces fit before the refcount table grows.
  uint64_t PiecesUntilTableGrows() {
    const auto host = MemHost::FromTree(base_);
    const std::unique_ptr<WritableImage> image = Open(host);
    const uint64_t table = RefcountTable(host);
    uint64_t count = 0;
    while (!HasFailure() && RefcountTable(host) == table) {
      EXPECT_TRUE(WritePiece(*image, pieces_ + count++));
    }
    return count;
  }

  struct Run {
    std::vector<HostCall> commit;
    std::vector<HostCall> growth;
  };
  // `dirty` pieces, then a commit held at `commit_stop`, and `grow` as far as `growth_stop`.
  Run Race(uint64_t dirty, const std::function<Status(WritableImage&)>& grow, size_t commit_stop,
           size_t growth_stop, size_t commit_calls, bool check) {
    const auto host = MemHost::FromTree(base_);
    const std::unique_ptr<WritableImage> image = Open(host);
    for (uint64_t i = 0; i < dirty; ++i) EXPECT_TRUE(WritePiece(*image, pieces_ + i));
    host->StartRecording();
    Actor commit([&] { return image->Flush(); }, commit_stop);
    Actor growth([&] { return grow(*image); }, growth_stop);
    host->SetHook([&](const HostCall& call) {
      if (IsMutation(call)) {
        commit.OnCall(call);
        growth.OnCall(call);
      }
      return 0;
    });
    commit.Start();
    commit.WaitFor(SIZE_MAX, 5s);
    growth.Start();
    // Growing the L1 table waits for the commit; all else goes on beside it.
    growth.WaitFor(SIZE_MAX, growth_waits_ ? 30ms : 5000ms);
    commit.GoOn();
    commit.WaitFor(commit_calls, 5s);
    growth.Finish();
    commit.Finish();
    host->SetHook({});
    Run run = {commit.calls(), growth.calls()};
    if (check) CheckStates(host->StopRecording());
    return run;
  }

  void CheckStates(std::shared_ptr<const Recording> recording) {
    CrashEnumerator crash(std::move(recording), {.max_states_per_point = 12});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      const auto file = state.MakeHost()->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
      const auto report = CheckQcow2(**file);
      if (!report) {
        ADD_FAILURE() << report.error().message;
      } else if (report->corruptions > 0) {
        ADD_FAILURE() << report->messages.front();
      }
      return !HasFailure();
    });
    states_ += crash.visited();
  }

  void RaceAll(uint64_t dirty, const std::function<Status(WritableImage&)>& grow) {
    // What the two do when they do not meet tells where they can be held.
    const Run plain = Race(dirty, grow, 0, SIZE_MAX, SIZE_MAX, false);
    ASSERT_FALSE(plain.commit.empty());
    ASSERT_FALSE(plain.growth.empty());
    const std::vector<size_t> growth_steps =
        growth_waits_ ? std::vector<size_t>{SIZE_MAX} : StepsOf(plain.growth);
    for (const size_t commit_stop : StepsOf(plain.commit)) {
      for (const size_t growth_stop : growth_steps) {
        SCOPED_TRACE("commit held at " + std::to_string(commit_stop) + ", growth at " +
                     std::to_string(growth_stop));
        Race(dirty, grow, commit_stop, growth_stop, plain.commit.size(), true);
        if (HasFailure()) return;
      }
    }
    std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(states_));
  }

  MetadataCache cache_{4 << 20};
  HostTree base_;
  uint64_t pieces_ = 0;
  bool growth_waits_ = false;
  uint64_t states_ = 0;
};

TEST_F(GrowthCrash, OfTheRefcountTable) {
  Prepare(400);
  const uint64_t until = PiecesUntilTableGrows();
  ASSERT_GT(until, kUncommitted);
  Prepare(400 + until - kUncommitted);
  const uint64_t left = PiecesUntilTableGrows();
  ASSERT_GT(left, 4u);
  RaceAll(left - 1, [&](WritableImage& image) -> Status {
    CHAINFS_TRY(WritePiece(image, pieces_ + left - 1));
    return WritePiece(image, pieces_ + left);
  });
}

TEST_F(GrowthCrash, OfRefcountBlocksAndL2Tables) {
  Prepare(100);
  RaceAll(20, [&](WritableImage& image) -> Status {
    for (uint64_t i = 20; i < 36; ++i) CHAINFS_TRY(WritePiece(image, pieces_ + i));
    return Status();
  });
}

TEST_F(GrowthCrash, OfTheL1Table) {
  Prepare(100);
  growth_waits_ = true;
  RaceAll(20, [&](WritableImage& image) { return image.Grow(4 * kSize, nullptr, 0); });
}

TEST_F(GrowthCrash, OfTheL1TableWithTheRefcountTable) {
  Prepare(400);
  const uint64_t until = PiecesUntilTableGrows();
  ASSERT_GT(until, kUncommitted);
  Prepare(400 + until - 10);
  growth_waits_ = true;
  RaceAll(4, [&](WritableImage& image) { return image.Grow(16 * kSize, nullptr, 0); });
}

}  // namespace
}  // namespace chainfs
