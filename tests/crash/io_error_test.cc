// SPDX-License-Identifier: Apache-2.0
//
// An error at every I/O: a scenario runs again and again on a fresh host in memory, and the N-th
// call that a mode is about fails, N = 0, 1, 2..., until the scenario passes untouched. After each
// run: the error that came out says what happened, no image is corrupt (leaks are permitted), every
// sector holds what the guest may expect, and once the fault is gone everything works again. Except
// after a failed sync (or a header that may be half-written): then nothing is written any more and
// flushes go on failing, until the chain is opened anew.
//
// CHAINFS_IO_ERROR_ROUNDS (default 4): how many seeds a scenario is run through.
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>

#include "blocklayer/catalog/roots.h"
#include "tests/crash/crash_chain.h"
#include "tests/support/effort.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMaxSize = 40 * kKiB;
constexpr uint64_t kMostCalls = 20000;  // no scenario has as many: N must come to an end

enum class Calls : uint8_t { kAll, kSpace, kWrites, kSyncs };

struct Mode {
  const char* name;
  Calls calls = Calls::kAll;
  int error = EIO;
  bool forever = false;
  uint64_t landed = 0;
  bool drop_unsynced = false;
};

std::ostream& operator<<(std::ostream& out, const Mode& mode) { return out << mode.name; }

bool Concerns(Calls calls, const HostCall& call) {
  switch (calls) {
    case Calls::kAll:
      return call.op != HostOp::kLock;
    case Calls::kSpace:
      return call.op == HostOp::kWrite || call.op == HostOp::kZero || call.op == HostOp::kCopy ||
             call.op == HostOp::kTruncate || call.op == HostOp::kCreate ||
             call.op == HostOp::kMakeDirectory || call.op == HostOp::kRename;
    case Calls::kWrites:
      return call.op == HostOp::kWrite || call.op == HostOp::kCopy;
    case Calls::kSyncs:
      return call.op == HostOp::kDataSync;
  }
  return false;
}

// What the fault has done to whom.
struct Struck {
  std::atomic<uint64_t> calls = 0;
  std::atomic<bool> any = false;
  std::atomic<bool> sync = false;    // of an image
  std::atomic<bool> header = false;  // the first sector of an image was to be written
  std::atomic<bool> record = false;  // something in .chainfs, or a directory

  // The first one, for messages.
  void Note(const HostCall& call) {
    MutexLock lock(mu);
    if (first.empty()) {
      first = fmt::format("{} {} at {:#x}+{:#x}", HostOpName(call.op), call.name, call.offset,
                          call.length);
    }
  }
  std::string First() {
    MutexLock lock(mu);
    return first;
  }
  Mutex mu;
  std::string first GUARDED_BY(mu);
};

class IoError : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Random random;
    const auto host = MemHost::Create();
    guest_ = std::make_unique<Guest>(nullptr, kMaxSize);
    BuildChain(host,
               {{.file = "base.raw", .below = "", .size = 24 * kKiB},
                {.file = "mid.qcow2", .below = "base.raw", .size = 20 * kKiB},
                {.file = "vm.qcow2", .below = "mid.qcow2", .size = 24 * kKiB}},
               *guest_, random);
    if (HasFatalFailure()) return;
    start_ = host->Snapshot();
    flats_ = FlatsByHand(host, {"base.raw", "mid.qcow2"});
    const auto flat = FlatByHand(*host->OpenRoot(), "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat);
    at_start_ = *flat;
    seed_ = random.Next();
  }

  // A fresh host and guest, and the fault armed to let `skip` calls pass.
  void Begin() {
    host_ = MemHost::FromTree(start_);
    guest_ = std::make_unique<Guest>(nullptr, kMaxSize);
    guest_->Accept(at_start_);
    random_ = std::make_unique<Random>(seed_);
    struck_ = std::make_shared<Struck>();
  }

  void Arm(uint64_t skip) {
    const Mode& mode = GetParam();
    host_->AddFault({.matches =
                         [struck = struck_, skip, &mode](const HostCall& call) {
                           if (!Concerns(mode.calls, call)) return false;
                           const uint64_t index = struck->calls++;
                           if (index != skip && !(mode.forever && index > skip)) return true;
                           const bool image = call.name.find('/') == std::string::npos &&
                                              call.name.find('.') != std::string::npos;
                           struck->any = true;
                           struck->Note(call);
                           if (!image) struck->record = true;
                           if (image && call.op == HostOp::kDataSync) struck->sync = true;
                           if (image && call.op == HostOp::kWrite && call.offset == 0) {
                             struck->header = true;
                           }
                           return true;
                         },
                     .skip = skip,
                     .forever = mode.forever,
                     .error = mode.error,
                     .landed = mode.landed,
                     .drop_unsynced = mode.drop_unsynced});
  }
  void Disarm() { host_->ClearFaults(); }

  // Poisoned: by a failed sync, or a header that nobody knows to be old or new.
  bool Poisoned() const { return struck_->sync || struck_->header; }

  // Whether an operation may fail like this.
  void ExpectRightError(const Error& error, bool first) {
    const ErrorKind expected = GetParam().error == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo;
    if (error.kind == expected) return;
    // Behind the first failure others follow that only repeat that it happened.
    const bool follows = !first && Poisoned() &&
                         (error.kind == ErrorKind::kReadOnly || error.kind == ErrorKind::kIo);
    EXPECT_TRUE(follows) << ErrorKindName(error.kind) << ": " << error.message;
    EXPECT_FALSE(error.message.empty());
  }

  void CheckImages(std::vector<std::string> files = {"mid.qcow2", "vm.qcow2"}) {
    ASSERT_EQ(CorruptionOf(*host_->OpenRoot(), files), "");
    ASSERT_EQ(ChangedFlat(*host_->OpenRoot(), flats_), "");
  }

  // After everything was let go of: the next daemon finds a sound chain and can use it.
  void CheckReopened(bool closed_well) {
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(closed_well ? guest_->CheckNow(*contents) : guest_->CheckCrash(UINT64_MAX, *contents),
              "");
    Guest further(nullptr, kMaxSize);
    further.Accept(*contents);
    for (int i = 0; i < 10; ++i) {
      const Status done = further.RandomOperation(*disk, *random_);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(further.CheckNow(*disk), "");
    ASSERT_TRUE((*catalog)->Close());
    CheckImages();
  }

  // Runs `scenario(n)` for every n until the fault does not strike any more.
  template <typename Scenario>
  void ForEveryCall(const Scenario& scenario) {
    uint64_t runs = 0;
    const uint64_t rounds = FromEnvironment("CHAINFS_IO_ERROR_ROUNDS", Effort(4u));
    for (uint64_t round = 0; round < rounds && !HasFailure(); ++round, ++seed_) {
      for (uint64_t n = 0;; ++n, ++runs) {
        ASSERT_LT(n, kMostCalls) << "the fault never stops striking";
        SCOPED_TRACE(fmt::format("{} at call {}, seed {}", GetParam().name, n, seed_));
        Begin();
        scenario(n);
        if (HasFailure()) {
          ADD_FAILURE() << "what failed first: " << struck_->First();
          return;
        }
        EXPECT_EQ(host_->OpenFiles(), 0u) << "files stay open";
        if (!struck_->any) break;
      }
    }
    RecordProperty("runs", static_cast<int>(runs));
    std::printf("[   INFO   ] %llu runs\n", static_cast<unsigned long long>(runs));
  }

  HostTree start_;
  std::map<std::string, Bytes> flats_;
  Bytes at_start_;
  uint64_t seed_ = 0;
  std::shared_ptr<MemHost> host_;
  std::unique_ptr<Guest> guest_;
  std::unique_ptr<Random> random_;
  std::shared_ptr<Struck> struck_;
};

// Writes what is there.
void Touch(MemHost& host, const std::string& name) {
  const auto file = host.OpenRoot()->Open(name, OpenMode::kReadWrite);
  ASSERT_TRUE(file) << file.error().message;
  std::array<std::byte, 1> first;
  ASSERT_TRUE((*file)->ReadAt(HostOffset(0), first));
  ASSERT_TRUE((*file)->WriteAt(HostOffset(0), first));
}

TEST_P(IoError, Opening) {
  ForEveryCall([this](uint64_t n) {
    Arm(n);
    {
      auto catalog = OpenMemCatalog(host_);
      if (!catalog) {
        ExpectRightError(catalog.error(), true);
      } else {
        for (const BrokenImage& image : (*catalog)->Broken()) ExpectRightError(image.error, true);
        // What opened shows the truth, or says that it cannot be read.
        for (const DiskPtr& disk : (*catalog)->Disks()) {
          const auto contents = ReadWholeDisk(*disk);
          if (!contents) {
            ExpectRightError(contents.error(), true);
          } else if (disk->name() == "vm") {
            EXPECT_EQ(Difference(at_start_, *contents), "");
          } else {
            const std::string file = disk->name() == "base" ? "base.raw" : "mid.qcow2";
            EXPECT_EQ(Difference(flats_.at(file), *contents), "") << file;
          }
        }
        Disarm();
        // Once it is gone, the same catalog comes to have everything; at once where a file changed.
        for (const BrokenImage& image : (*catalog)->Broken()) Touch(*host_, FileNameOf(image.path));
        EXPECT_TRUE((*catalog)->Rescan());
        for (const char* name : {"vm", "mid", "base"}) {
          const DiskPtr disk = (*catalog)->Find(name);
          if (disk == nullptr) {
            for (const BrokenImage& image : (*catalog)->Broken()) {
              ADD_FAILURE() << name << " stays broken: " << image.error.message;
            }
            continue;
          }
          EXPECT_TRUE(ReadWholeDisk(*disk)) << name;
        }
        EXPECT_TRUE((*catalog)->Close());
      }
    }
    Disarm();
    CheckReopened(true);
  });
}

TEST_P(IoError, GuestOperations) {
  ForEveryCall([this](uint64_t n) {
    bool closed_well = false;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      guest_->set_may_grow(true);
      Arm(n);
      bool first = true;
      for (int i = 0; i < 24; ++i) {
        const Status done = guest_->RandomOperation(*disk, *random_);
        if (!done) ExpectRightError(done.error(), std::exchange(first, false));
        if (HasFailure()) return;
        if (i % 8 != 7) continue;
        const auto contents = ReadWholeDisk(*disk);
        if (!contents) {
          ExpectRightError(contents.error(), std::exchange(first, false));
        } else if (!GetParam().drop_unsynced) {
          ASSERT_EQ(guest_->CheckNow(*contents), "");
        }
      }
      Disarm();
      if (Poisoned()) {
        ASSERT_TRUE(disk->read_only());
        ASSERT_FALSE(disk->Flush());
        const Bytes data(512);
        const Status written = disk->Write(GuestOffset(0), data);
        ASSERT_FALSE(written);
        ASSERT_EQ(written.error().kind, ErrorKind::kReadOnly);
        ASSERT_FALSE(disk->Flush());
        if (!GetParam().drop_unsynced) {
          ASSERT_EQ(guest_->CheckNow(*disk), "");
        }
        (void)(*catalog)->Close();
      } else {
        ASSERT_FALSE(disk->read_only());
        ASSERT_EQ(guest_->CheckNow(*disk), "");
        for (int i = 0; i < 8; ++i) {
          const Status done = guest_->RandomOperation(*disk, *random_);
          ASSERT_TRUE(done) << done.error().message;
        }
        ASSERT_TRUE(guest_->Flush(*disk));
        ASSERT_EQ(guest_->CheckNow(*disk), "");
        const Status closed = (*catalog)->Close();
        ASSERT_TRUE(closed) << closed.error().message;
        closed_well = true;
      }
    }
    CheckImages();
    if (!HasFatalFailure()) CheckReopened(closed_well);
  });
}

TEST_P(IoError, Closing) {
  ForEveryCall([this](uint64_t n) {
    bool closed_well = false;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      for (int i = 0; i < 10; ++i) {
        const Status done = guest_->RandomOperation(*disk, *random_);
        ASSERT_TRUE(done) << done.error().message;
      }
      Arm(n);
      const Status closed = (*catalog)->Close();
      closed_well = closed.has_value();
      if (!closed) ExpectRightError(closed.error(), true);
    }
    Disarm();
    CheckImages();
    if (!HasFatalFailure()) CheckReopened(closed_well);
  });
}

TEST_P(IoError, Stream) {
  for (const std::optional<std::string>& base :
       {std::optional<std::string>(), std::optional<std::string>("base.raw")}) {
    ForEveryCall([&](uint64_t n) {
      const std::string_view expected = base ? "base.raw" : "";
      {
        auto catalog = OpenMemCatalog(host_);
        ASSERT_TRUE(catalog) << catalog.error().message;
        const DiskPtr disk = (*catalog)->Find("vm");
        ASSERT_NE(disk, nullptr);
        jobs::EventLog events;
        jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
        jobs::StreamRequest request;
        request.disk = "vm";
        request.base = base;
        Arm(n);
        const auto id = jobs::StartStream(jobs, **catalog, request);
        if (!id) {
          ExpectRightError(id.error(), true);
        } else {
          const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
          ASSERT_TRUE(job);
          if (!job->error) {
            EXPECT_EQ(disk->chain()->depth(), base ? 2u : 1u);
          }
        }
        Disarm();
        const auto contents = ReadWholeDisk(*disk);
        ASSERT_TRUE(contents) << contents.error().message;
        if (!GetParam().drop_unsynced) {
          ASSERT_EQ(Difference(at_start_, *contents), "");
        }
        // A header of which nobody knows whether it names the old or the new backing file does no
        // harm: both show the same.
        if (struck_->sync) {
          ASSERT_TRUE(disk->read_only());
        } else {
          // The same again, and now it goes through.
          const auto again = jobs::StartStream(jobs, **catalog, request);
          ASSERT_TRUE(again) << again.error().message;
          const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
          ASSERT_TRUE(job);
          ASSERT_FALSE(job->error) << *job->error;
          ASSERT_EQ(disk->chain()->depth(), base ? 2u : 1u);
          ASSERT_TRUE(guest_->Write(*disk, 1, 3));
          ASSERT_TRUE(guest_->Flush(*disk));
        }
        jobs.Shutdown();
        (void)(*catalog)->Close();
      }
      CheckImages();
      if (HasFatalFailure()) return;
      const auto backing = BackingOf(*host_->OpenRoot(), "vm.qcow2");
      ASSERT_TRUE(backing);
      const std::string now = *backing ? (*backing)->name : "";
      ASSERT_TRUE(now == expected || (struck_->sync && now == "mid.qcow2")) << now;
      CheckReopened(!struck_->sync);
    });
    if (HasFailure()) return;
  }
}

TEST_P(IoError, Snapshot) {
  ForEveryCall([this](uint64_t n) {
    bool closed_well = false;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      ASSERT_TRUE(guest_->Write(*disk, 3, 4));
      Arm(n);
      const auto overlay = (*catalog)->Snapshot(disk, {.cluster_bits = 9});
      if (!overlay) ExpectRightError(overlay.error(), true);
      EXPECT_EQ(disk->chain()->depth(), overlay ? 4u : 3u);
      Disarm();
      if (!GetParam().drop_unsynced) {
        ASSERT_EQ(guest_->CheckNow(*disk), "");
      }
      if (!disk->read_only()) {
        // Whatever came of it, what is written now must be found again.
        ASSERT_TRUE(guest_->Write(*disk, 5, 6));
        const Status flushed = guest_->Flush(*disk);
        ASSERT_TRUE(flushed) << flushed.error().message;
        const Status closed = (*catalog)->Close();
        closed_well = closed.has_value();
        EXPECT_TRUE(closed || Poisoned()) << closed.error().message;
      } else {
        EXPECT_TRUE(Poisoned() || struck_->record);
        (void)(*catalog)->Close();
      }
    }
    CheckImages();
    if (!HasFatalFailure()) CheckReopened(closed_well);
  });
}

INSTANTIATE_TEST_SUITE_P(
    Modes, IoError,
    ::testing::Values(
        Mode{.name = "eio_once"}, Mode{.name = "eio_forever", .forever = true},
        Mode{.name = "enospc_once", .calls = Calls::kSpace, .error = ENOSPC},
        Mode{.name = "enospc_forever", .calls = Calls::kSpace, .error = ENOSPC, .forever = true},
        Mode{.name = "short_write", .calls = Calls::kWrites, .landed = 512},
        Mode{.name = "short_write_no_space",
             .calls = Calls::kWrites,
             .error = ENOSPC,
             .landed = 512},
        Mode{.name = "done_but_reported", .calls = Calls::kWrites, .landed = UINT64_MAX},
        Mode{.name = "sync_drops", .calls = Calls::kSyncs, .drop_unsynced = true}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
