// SPDX-License-Identifier: Apache-2.0
//
// JobCrash: what the crash tests of the kinds of job have in common: rounds of a scenario on a
// recording host, with a guest on the disk "vm", and every crash state of each.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdio>

#include "tests/crash/crash_chain.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

template <typename Case>
class JobCrash : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  // A new chain, open in catalog_ and disk_.
  virtual void Build() = 0;
  // What must hold of every state, found at crash point `point` of the recording.
  virtual void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) = 0;
  // All that is looked at in one, some of it by chance.
  virtual void CheckState(const CrashState& state) = 0;

  static uint64_t WantedRounds() { return FromEnvironment("CHAINFS_CRASH_ROUNDS", 2); }

  // `run` is what is recorded; `states` of each point.
  template <typename Run>
  void Rounds(uint64_t rounds, uint64_t states, const Run& run) {
    for (uint64_t round = 0; round < rounds && !this->HasFailure(); ++round) {
      Build();
      if (this->HasFatalFailure()) return;
      host_->StartRecording();
      run();
      if (this->HasFailure()) return;
      ASSERT_EQ(guest_->CheckNow(*disk_), "");
      CloseAll();
      if (!this->HasFatalFailure()) CheckAllStates(states);
    }
    this->RecordProperty("states", static_cast<int>(visited_));
    std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(visited_));
  }

  void MakeChain(const std::vector<LayerSpec>& layers, uint64_t max_size) {
    host_ = MemHost::Create();
    guest_ = std::make_unique<Guest>(host_, max_size);
    BuildChain(host_, layers, *guest_, random_);
  }
  void OpenDisk() {
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  void CloseAll() {
    disk_.reset();
    const Status closed = catalog_->Close();
    ASSERT_TRUE(closed) << closed.error().message;
    catalog_.reset();
  }

  void GuestOperations(int count) {
    for (int i = 0; i < count; ++i) {
      const Status done = guest_->RandomOperation(*disk_, random_);
      ASSERT_TRUE(done) << done.error().message;
    }
  }
  // Two guests at once, each with a thread of its own.
  void GuestThreads() {
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([this, own = random_.Fork()]() mutable {
        for (int i = 0; i < 6; ++i) {
          const Status done = guest_->RandomOperation(*disk_, own);
          EXPECT_TRUE(done) << done.error().message;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Of a chain; the guest's disk is the one called "vm".
  void NoteFiles(const std::vector<LayerSpec>& layers) {
    for (const LayerSpec& layer : layers) {
      files_.push_back(layer.file);
      if (StemOfLayer(layer.file) != "vm") frozen_.push_back(layer.file);
    }
  }
  // Of the chain, those that have not been deleted.
  std::vector<std::string> FilesThere(const std::shared_ptr<MemHost>& host) const {
    std::vector<std::string> there;
    for (const std::string& file : files_) {
      if (host->Exists(file)) there.push_back(file);
    }
    return there;
  }
  static Result<Bytes> DiskByHand(const std::shared_ptr<MemHost>& host) {
    const std::string active = ActiveByHand(host);
    return FlatByHand(*host->OpenRoot(), active, FormatOf(active));
  }

  // A crash during the recovery from a crash.
  void CheckSecondCrash(const CrashState& state) {
    const auto host = state.MakeHost();
    host->StartRecording();
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      jobs::EventLog events;
      jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
      jobs.ResumeRecorded();
      WaitForJobs(jobs);
      jobs.Shutdown();
      ASSERT_TRUE((*catalog)->Close());
    }
    CrashEnumerator second(host->StopRecording(),
                           {.seed = random_.Next(), .max_states_per_point = 3});
    second.ForEachState([&](const CrashState& later) {
      SCOPED_TRACE("second " + later.Describe());
      CheckByHand(later.MakeHost(), state.point);
      return !this->HasFailure();
    });
  }

  void CheckByQemu(const CrashState& state) {
    const TempDir dir;
    const auto host = state.MakeHost();
    ASSERT_TRUE(host->ExportTo(dir.path()));
    for (const std::string& file : FilesThere(host)) {
      if (FormatOf(file) == ImageFormat::kRaw) continue;
      const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir / file});
      ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    }
    const std::string active = ActiveByHand(host);
    const CommandResult convert =
        RunCommand({"qemu-img", "convert", "-f", std::string(FormatOf(active).name()), "-O", "raw",
                    dir / active, dir / "flat"});
    ASSERT_TRUE(convert.ok()) << convert.Describe();
    const std::string flat = ReadTextFile(dir / "flat");
    const auto by_hand = DiskByHand(host);
    ASSERT_TRUE(by_hand);
    ASSERT_EQ(Difference(*by_hand, std::as_bytes(std::span(flat))), "");
  }

  Random random_;
  std::vector<std::string> files_;   // of the chain
  std::vector<std::string> frozen_;  // of them, those that must not change
  std::shared_ptr<MemHost> host_;
  std::unique_ptr<Guest> guest_;
  std::unique_ptr<Catalog> catalog_;
  DiskPtr disk_;

 private:
  void CheckAllStates(uint64_t states) {
    CrashEnumerator crash(host_->StopRecording(), {.seed = random_.Next(),
                                                   .max_states_per_point = FromEnvironment(
                                                       "CHAINFS_CRASH_STATES", states)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckState(state);
      return !this->HasFailure();
    });
    visited_ += crash.visited();
  }

  uint64_t visited_ = 0;
};

}  // namespace chainfs
