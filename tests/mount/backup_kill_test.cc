// SPDX-License-Identifier: Apache-2.0
//
// SIGKILL at random moments of backups, and of points in time that are held (kill_fixture.h). What
// has the target's name, what the point's disk shows, and what its layer holds until it is marked
// as changing, is the disk as it was when the command returned: the same before and after the kill.
#include "tests/mount/kill_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

class BackupKillTest : public KillFixture {
 protected:
  // Guests stand still until the command has returned, or what was frozen is read once it has.
  void MakePoint(Attempt& attempt, const std::string& keys) {
    point_.reset();
    frozen_ = false;
    attempt.guests_before = random_.OneIn(2);
    attempt.command = [this, keys, busy = attempt.guests_before] {
      const uint64_t begin = vm_.model.BeginRead();
      if (!busy) point_ = TryRead("vm.raw");
      if (const int error = Order(disk(), "backup", keys); error != 0) return error;
      if (!busy) return 0;
      point_ = TryRead("vm@" + id_ + ".raw");
      if (point_) {
        EXPECT_EQ(vm_.model.CheckRead(begin, 0, BytesOf(*point_)), "") << "the point in time";
      }
      return 0;
    };
    attempt.left = [this](bool accepted) {
      // Before that the next daemon takes the point, of what the killed one has left.
      frozen_ = frozen_ || accepted || IsHeld();
      if (!frozen_) point_.reset();
      ExpectPoint();
    };
  }

  // By files alone. Without a point that is known there is nothing to compare with.
  void ExpectPoint() {
    if (!point_) return;
    if (IsHeld() && Records("merged-").empty()) {
      EXPECT_TRUE(FlatOf(Record().value("backing", "")) == *point_) << "the frozen layer";
    }
    ExpectTarget();
  }
  // Whether the record of the chain tells of the point.
  bool IsHeld() const {
    const Json record = Record();
    return record.is_object() && record.value("held-for", "") == id_;
  }
  void ExpectTarget() {
    if (point_ && !target_.empty() && std::filesystem::exists(At(target_))) {
      EXPECT_TRUE(FlatOf(target_) == *point_) << target_;
    }
  }

  Attempt NextBackup() {
    AddLayers(3);
    const Names layers = LayersOf(disk());
    id_ = NewId();
    target_ = "saved-" + id_ + (random_.OneIn(3) ? ".raw" : ".qcow2");
    std::string keys = "id=" + id_ + ",target=" + target_;
    if (target_.ends_with(".qcow2")) {
      const std::string since = layers[1 + random_.Below(layers.size() - 1)];
      const std::string kMore[] = {"", ",sync=top", ",since=" + since, ",compress=zstd"};
      keys += kMore[random_.Below(4)];
    }
    Attempt attempt;
    attempt.slow = random_.OneIn(3);
    if (attempt.slow) keys += ",speed=" + std::to_string(2 + random_.Below(8)) + "M";
    attempt.what = "backup " + keys;
    MakePoint(attempt, keys);
    attempt.layers_after = layers;
    attempt.done = [this](bool begun) {
      EXPECT_TRUE(!begun || std::filesystem::exists(At(target_))) << target_;
      ExpectTarget();
      ExpectNothingIsLeft();
    };
    return attempt;
  }

  // A point in time that is only shown, until it is released.
  Attempt NextHold() {
    AddLayers(2);
    id_ = NewId();
    target_.clear();
    const std::string keys = "id=" + id_ + ",then=hold";
    Attempt attempt;
    attempt.what = "backup " + keys;
    MakePoint(attempt, keys);
    released_ = false;
    attempt.command = [this, take = attempt.command] {
      if (const int error = take(); error != 0) return error;
      for (Json job = Json::object(); job.value("status", "") != "ready";) {
        job = Status(disk(), "job." + id_);
        if (!job.is_object()) return 0;
      }
      // Also when the answer does not come any more.
      released_ = true;
      (void)Order(disk(), "complete", "id=" + id_);
      return 0;
    };
    attempt.layers_after = LayersOf(disk());
    attempt.resumed = [this] {
      // Whoever was killed after the word was given may have merged it already.
      if (!point_ || released_ || Records("job-").empty()) return;
      const std::optional<std::string> shown = TryRead("vm@" + id_ + ".raw");
      ASSERT_TRUE(shown) << "the point in time is gone";
      EXPECT_TRUE(*shown == *point_) << "the point in time";
    };
    attempt.done = [this](bool) { ExpectNothingIsLeft(); };
    return attempt;
  }

  void ExpectNothingIsLeft() {
    EXPECT_EQ(Records("merged-"), Names{});
    for (const auto& entry : std::filesystem::directory_iterator(At(""))) {
      const std::string name = entry.path().filename();
      EXPECT_FALSE(name.ends_with(".part") || name == "vm." + id_ + ".qcow2") << name;
    }
  }

  std::string id_;
  std::string target_;
  std::optional<std::string> point_;
  bool frozen_ = false;  // what the killed daemon has left has it
  std::atomic<bool> released_ = false;
};

TEST_F(BackupKillTest, AtRandomMoments) {
  KillAtRandomMoments(200ms, [this] { return NextBackup(); });
}

TEST_F(BackupKillTest, AtRandomMomentsOfAPointInTimeThatIsHeld) {
  KillAtRandomMoments(60ms, [this] { return NextHold(); });
}

}  // namespace
}  // namespace chainfs
