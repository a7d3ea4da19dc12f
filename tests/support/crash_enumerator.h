// SPDX-License-Identifier: Apache-2.0
//
// CrashEnumerator: what a power cut may leave of a recorded scenario. The model is weaker than any
// of ext4, XFS and btrfs, so what survives it survives them:
//   - what a file went through since its last successful sync is pending: each change may or may
//   not
//     have reached the disk, in any combination; files are independent of each other;
//   - a write that grows the file is two changes, the new size and the data. A lost size takes the
//     data beyond it along; lost data below a kept size reads as what was there before, or zeros;
//   - a write may be torn: some of its 512-byte sectors reach the disk, others do not;
//   - creations, renames and removals are pending until their directory is synced (that of the new
//     name, for a rename), and do not wait for the data of the file.
//
//   CrashEnumerator crash(host->StopRecording());
//   crash.ForEachState([&](const CrashState& state) {
//     SCOPED_TRACE(state.Describe());
//     auto directory = state.MakeHost()->OpenRoot();
//     ... open, check ...
//     return !HasFailure();  // false ends the enumeration
//   });
//
// Crash point p lies after the first p events. Up to `exhaustive_limit` pending changes all subsets
// are tried, above it the prefixes, the single losses, the single survivals, pairs of losses and
// random subsets. Equal states within one epoch (MemHost::Mark) are visited once.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "tests/support/mem_host.h"
#include "tests/support/random.h"

namespace chainfs {

struct CrashOptions {
  uint64_t seed = TestSeed();
  size_t exhaustive_limit = 10;
  size_t random_subsets = 200;
  size_t pair_losses = 300;
  bool tears = true;
  bool deduplicate = true;
  size_t max_states_per_point = SIZE_MAX;  // the later, random ones are left out first
};

// One change that a crash may lose.
struct PendingChange {
  enum class Kind : uint8_t { kGrow, kShrink, kData, kClear, kName };
  Kind kind = Kind::kData;
  size_t event = 0;    // index in the recording
  uint64_t inode = 0;  // the file, or the directory whose sync makes it durable
  uint64_t size = 0;   // kGrow, kShrink
};

struct CrashState {
  // Which sectors of a write reached the disk.
  enum class Tear : uint8_t { kWhole, kFirstOnly, kAllButFirst, kOddOnly };
  struct Choice {
    bool kept = false;
    Tear tear = Tear::kWhole;
  };

  size_t point = 0;
  uint64_t hash = 0;
  HostTree tree;
  std::shared_ptr<const Recording> recording;
  std::shared_ptr<const std::vector<PendingChange>> pending;
  std::vector<Choice> choices;  // one a pending change

  // A host of its own that holds this state; open it, change it, record it again.
  std::shared_ptr<MemHost> MakeHost(MemHostOptions options = {}) const {
    return MemHost::FromTree(tree, std::move(options));
  }
  // The crash point and what was lost or torn.
  std::string Describe() const;
};

class CrashEnumerator {
 public:
  using Visitor = std::function<bool(const CrashState&)>;

  explicit CrashEnumerator(std::shared_ptr<const Recording> recording, CrashOptions options = {});

  // Crash points are 0 .. points() - 1.
  size_t points() const { return recording_->events.size() + 1; }
  // Every new state of every point, in order. False if the visitor ended it.
  bool ForEachState(const Visitor& visit);
  // Every new state of one point.
  bool ForEachStateAt(size_t point, const Visitor& visit);

  uint64_t visited() const { return visited_; }
  uint64_t duplicates() const { return duplicates_; }

 private:
  using Choices = std::vector<CrashState::Choice>;

  // Takes durable_ and pending_ to the crash point.
  void MoveTo(size_t point);
  void Consume(size_t index);
  void AddPending(PendingChange change) { pending_.push_back(change); }
  void GrowIfNeeded(size_t index);
  // Makes the pending changes that wait for `inode` durable.
  void MakeDurable(uint64_t inode, bool names);
  void Apply(HostTree& tree, const PendingChange& change, CrashState::Tear tear) const;
  std::vector<Choices> Subsets();
  std::vector<Choices> SampledSubsets();
  void AddTears(const Choices& choices, std::vector<Choices>& to);

  const std::shared_ptr<const Recording> recording_;
  const CrashOptions options_;
  Random random_;
  size_t position_ = 0;
  HostTree durable_;
  std::map<uint64_t, uint64_t> live_size_;
  std::vector<PendingChange> pending_;
  std::unordered_set<uint64_t> seen_;  // of the current epoch
  uint64_t visited_ = 0;
  uint64_t duplicates_ = 0;
};

}  // namespace chainfs
