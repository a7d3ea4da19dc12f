// SPDX-License-Identifier: Apache-2.0
//
// SIGKILL at random moments of what copies nothing, or starts by itself: snapshots, of one disk and
// of two at once, resizing, rebasing, and the compaction of chains that are too long
// (kill_fixture.h).
#include <sys/stat.h>

#include "tests/mount/kill_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

class ChainKillTest : public KillFixture {
 protected:
  // Whether `name` has gone on to a new layer since; that a record says so counts.
  bool Moved(const std::string& name, const std::string& from) const {
    return Active(name) != from;
  }
  Names LayersOfTwo() const { return LayersOf(daemon() / "two.raw"); }

  Attempt NextSnapshot() {
    Attempt attempt;
    const std::string active = Active();
    const std::string keys = random_.OneIn(2) ? "cluster_size=4k" : "";
    attempt.what = "snapshot " + keys;
    attempt.command = [this, keys] { return Order(disk(), "snapshot", keys); };
    attempt.left = [this, active](bool accepted) {
      moved_ = Moved("vm", active);
      EXPECT_TRUE(moved_ || !accepted);
    };
    attempt.done = [this](bool) {
      EXPECT_EQ(LayersOf(disk()).size(), before_.size() + (moved_ ? 1 : 0));
      ExpectNoStrangers();
    };
    return attempt;
  }

  Attempt NextGroup() {
    Attempt attempt;
    const std::string vm = Active("vm");
    const std::string two = Active("two");
    attempt.what = "snapshot of two disks";
    two_before_ = LayersOfTwo();
    attempt.command = [this] { return Order(root(), "snapshot", "disks=vm;two,cluster_size=4k"); };
    attempt.left = [this, vm, two](bool accepted) {
      moved_ = Moved("vm", vm);
      EXPECT_EQ(moved_, Moved("two", two)) << "all or none";
      EXPECT_TRUE(moved_ || !accepted);
    };
    attempt.done = [this](bool) {
      EXPECT_EQ(LayersOf(disk()).size(), before_.size() + (moved_ ? 1 : 0));
      EXPECT_EQ(LayersOfTwo().size(), two_before_.size() + (moved_ ? 1 : 0));
      ExpectNoStrangers();
    };
    return attempt;
  }

  // Every image of the directory belongs to one of the chains.
  void ExpectNoStrangers() {
    Names known = LayersOf(disk());
    for (const std::string& name : LayersOfTwo()) known.push_back(name);
    for (const auto& entry : std::filesystem::directory_iterator(At(""))) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(!entry.is_regular_file() || std::ranges::find(known, name) != known.end())
          << name;
    }
  }

  // What guests write to lies within the first 8 MiB.
  Attempt NextResize() {
    constexpr uint64_t kStep = 64 << 10;
    struct stat st = {};
    EXPECT_EQ(::stat(disk().c_str(), &st), 0);
    const auto before = static_cast<uint64_t>(st.st_size);
    uint64_t after = before;
    while (after == before) after = kSectors * kStampSize + random_.Below(64) * kStep;
    const std::string keys =
        "size=" + std::to_string(after) + (random_.OneIn(2) ? ",shrink=yes" : "");
    Attempt attempt;
    attempt.what = "resize " + keys + " from " + std::to_string(before);
    attempt.command = [this, keys] { return Order(disk(), "resize", keys); };
    attempt.left = [this, before, after](bool accepted) {
      EXPECT_TRUE(flat().size() == after || (!accepted && flat().size() == before))
          << flat().size();
      size_ = flat().size();
    };
    attempt.done = [this](bool) {
      struct stat now = {};
      EXPECT_EQ(::stat(disk().c_str(), &now), 0);
      EXPECT_EQ(static_cast<uint64_t>(now.st_size), size_);
    };
    return attempt;
  }

  // Onto a copy of what a layer stands on.
  Attempt NextRebase() {
    AddLayers(3);
    Names layers = LayersOf(disk());
    const size_t top = random_.Below(CountOwn(layers) - 1);
    const std::string& base = layers[top + 1];
    const std::string copy = "equal-" + NewId() + base.substr(base.rfind('.'));
    std::filesystem::copy_file(At(base), At(copy));
    std::string keys = "id=" + NewId() + ",top=" + layers[top] + ",base=" + copy;
    Attempt attempt;
    attempt.slow = random_.OneIn(3);
    if (attempt.slow) keys += ",speed=" + std::to_string(2 + random_.Below(8)) + "M";
    attempt.what = "rebase " + keys;
    attempt.command = [this, keys] { return Order(disk(), "rebase", keys); };
    layers[top + 1] = copy;
    attempt.layers_after = layers;
    return attempt;
  }

  // Snapshots make the chain too long; a job begins by itself, in every daemon.
  Attempt NextCompaction() {
    Attempt attempt;
    attempt.what = "compaction";
    attempt.command = [this] {
      for (int i = 0; i < 2; ++i) {
        const uint64_t enough = vm_.model.BeginRead() + 200;
        while (vm_.model.BeginRead() < enough && TryRead("vm.raw")) {
        }
        if (const int error = Order(disk(), "snapshot", "cluster_size=4k"); error != 0) {
          return error;
        }
      }
      while (LayersOf(disk()).size() > kMostLayers) {
      }
      return 0;
    };
    attempt.done = [this](bool) {
      EXPECT_TRUE(Eventually([this] { return LayersOf(disk()).size() <= kMostLayers; }));
      EXPECT_EQ(LayersOfTwo(), (Names{"two.qcow2", kShared}));
    };
    return attempt;
  }
  static constexpr size_t kMostLayers = 2;

  bool moved_ = false;
  Names two_before_;
  size_t size_ = 0;
};

TEST_F(ChainKillTest, AtRandomMomentsOfSnapshots) {
  KillAtRandomMoments(12ms, [this] { return NextSnapshot(); });
}

TEST_F(ChainKillTest, AtRandomMomentsOfSnapshotsOfTwoDisks) {
  KillAtRandomMoments(20ms, [this] { return NextGroup(); });
}

TEST_F(ChainKillTest, AtRandomMomentsOfResizing) {
  KillAtRandomMoments(6ms, [this] { return NextResize(); });
}

TEST_F(ChainKillTest, AtRandomMomentsOfRebasing) {
  KillAtRandomMoments(60ms, [this] { return NextRebase(); });
}

TEST_F(ChainKillTest, AtRandomMomentsOfCompaction) {
  SetOptions({"-o", "max_layers=" + std::to_string(kMostLayers)});
  KillAtRandomMoments(200ms, [this] { return NextCompaction(); });
}

}  // namespace
}  // namespace chainfs
