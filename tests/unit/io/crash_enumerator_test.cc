// SPDX-License-Identifier: Apache-2.0
//
// The crash model: what was synced is never lost, what was not may be, in every combination; and
// the stamp oracle finds a missing flush in it.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/crash_enumerator.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

std::vector<std::byte> Bytes(size_t count, char value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

class CrashEnumeratorTest : public testing::Test {
 protected:
  void SetUp() override {
    host_ = MemHost::Create();
    root_ = host_->OpenRoot();
  }

  std::unique_ptr<File> StartWith(const std::string& name, std::span<const std::byte> contents) {
    host_->PutFile(name, contents);
    host_->StartRecording();
    return root_->Open(name, OpenMode::kReadWrite).value();
  }

  // One letter a sector for every state of the last crash point: first byte of each sector.
  std::set<std::string> FinalStates(const std::string& name, CrashOptions options = {}) {
    CrashEnumerator crash(host_->StopRecording(), options);
    std::set<std::string> states;
    crash.ForEachStateAt(crash.points() - 1, [&](const CrashState& state) {
      const auto host = state.MakeHost();
      states.insert(host->Exists(name) ? Letters(host->Contents(name)) : "absent");
      return true;
    });
    return states;
  }

  static std::string Letters(const std::vector<std::byte>& contents) {
    std::string letters;
    for (size_t at = 0; at < contents.size(); at += 512) {
      const char c = static_cast<char>(contents[at]);
      letters += c == 0 ? '0' : c;
    }
    return letters;
  }

  std::shared_ptr<MemHost> host_;
  std::unique_ptr<Directory> root_;
};

using States = std::set<std::string>;

TEST_F(CrashEnumeratorTest, AnUnsyncedWriteMayVanishASyncedOneNever) {
  const auto file = StartWith("f", Bytes(512, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  ASSERT_TRUE(file->DataSync());
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'm')));
  EXPECT_EQ(FinalStates("f"), (States{"n", "m"}));
}

TEST_F(CrashEnumeratorTest, WritesAreReorderedBetweenSyncsOnly) {
  const auto file = StartWith("f", Bytes(1024, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'a')));
  ASSERT_TRUE(file->WriteAt(HostOffset(512), Bytes(512, 'b')));
  EXPECT_EQ(FinalStates("f"), (States{"oo", "ao", "ob", "ab"}));
}

TEST_F(CrashEnumeratorTest, WritesTearAtSectors) {
  const auto file = StartWith("f", Bytes(2048, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(2048, 'n')));
  EXPECT_EQ(FinalStates("f"), (States{"oooo", "nnnn", "nooo", "onnn", "onon"}));
}

TEST_F(CrashEnumeratorTest, WithoutTearsWritesAreWhole) {
  const auto file = StartWith("f", Bytes(2048, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(2048, 'n')));
  EXPECT_EQ(FinalStates("f", {.tears = false}), (States{"oooo", "nnnn"}));
}

TEST_F(CrashEnumeratorTest, SizeAndDataAreIndependent) {
  const auto file = StartWith("f", Bytes(512, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(512), Bytes(512, 'n')));
  // A lost size takes the data along; a kept size with lost data reads zeros.
  EXPECT_EQ(FinalStates("f"), (States{"o", "o0", "on"}));
}

TEST_F(CrashEnumeratorTest, TruncatePunchAndZeroMayVanishToo) {
  const auto file = StartWith("f", Bytes(1024, 'o'));
  ASSERT_TRUE(file->Truncate(512));
  EXPECT_EQ(FinalStates("f"), (States{"oo", "o"}));
  host_->StartRecording();
  ASSERT_TRUE(file->Truncate(1024));
  ASSERT_TRUE(file->DataSync());
  ASSERT_TRUE(file->PunchHole(HostOffset(0), 512));
  EXPECT_EQ(FinalStates("f"), (States{"o0", "00"}));
  host_->StartRecording();
  ASSERT_TRUE(file->ZeroRange(HostOffset(1024), 512));
  EXPECT_EQ(FinalStates("f"), (States{"00", "000"}));
}

TEST_F(CrashEnumeratorTest, ShrinkingAndGrowingAgainMayShowOldBytesUntilSynced) {
  const auto file = StartWith("f", Bytes(1024, 'o'));
  ASSERT_TRUE(file->Truncate(512));
  ASSERT_TRUE(file->Truncate(1024));
  EXPECT_EQ(FinalStates("f"), (States{"oo", "o", "o0"}));
  host_->StartRecording();
  ASSERT_TRUE(file->Truncate(512));
  ASSERT_TRUE(file->DataSync());
  ASSERT_TRUE(file->Truncate(1024));
  EXPECT_EQ(FinalStates("f"), (States{"o", "o0"}));
}

TEST_F(CrashEnumeratorTest, FilesAreIndependent) {
  host_->PutFile("g", Bytes(512, 'o'));
  const auto f = StartWith("f", Bytes(512, 'o'));
  const auto g = root_->Open("g", OpenMode::kReadWrite).value();
  ASSERT_TRUE(f->WriteAt(HostOffset(0), Bytes(512, 'a')));
  ASSERT_TRUE(g->WriteAt(HostOffset(0), Bytes(512, 'b')));
  ASSERT_TRUE(g->DataSync());
  CrashEnumerator crash(host_->StopRecording());
  States states;
  crash.ForEachStateAt(crash.points() - 1, [&](const CrashState& state) {
    const auto host = state.MakeHost();
    states.insert(Letters(host->Contents("f")) + Letters(host->Contents("g")));
    return true;
  });
  EXPECT_EQ(states, (States{"ob", "ab"}));
}

TEST_F(CrashEnumeratorTest, NamesWaitForTheDirectory) {
  host_->StartRecording();
  const auto file = root_->Create("f", 0600).value();
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  ASSERT_TRUE(file->DataSync());
  EXPECT_EQ(FinalStates("f"), (States{"absent", "n"}));
  host_->StartRecording();
  ASSERT_TRUE(root_->Remove("f"));
  EXPECT_EQ(FinalStates("f"), (States{"absent", "n"}));
}

TEST_F(CrashEnumeratorTest, ARenamedFileMayLackItsDataUnlessSynced) {
  host_->PutFile("f", Bytes(512, 'o'));
  host_->StartRecording();
  const auto file = root_->Create("t", 0600).value();
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  ASSERT_TRUE(root_->Rename("t", "f"));
  ASSERT_TRUE(root_->Sync());
  EXPECT_EQ(FinalStates("f"), (States{"", "0", "n"}));
}

TEST_F(CrashEnumeratorTest, WriteFileAtomicallyIsAtomicAndDurable) {
  host_->PutFile("f", Bytes(3, 'o'));
  host_->StartRecording();
  ASSERT_TRUE(root_->WriteFileAtomically("f", "new"));
  host_->Mark("returned");
  CrashEnumerator crash(host_->StopRecording());
  bool all = crash.ForEachState([&](const CrashState& state) {
    const std::string text = state.MakeHost()->OpenRoot()->ReadSmallFile("f").value();
    EXPECT_TRUE(text == "ooo" || text == "new") << text << ": " << state.Describe();
    if (state.point + 1 == crash.points()) {
      EXPECT_EQ(text, "new") << state.Describe();
    }
    return !testing::Test::HasFailure();
  });
  EXPECT_TRUE(all);
  EXPECT_GT(crash.visited(), 5u);
}

TEST_F(CrashEnumeratorTest, AFailedSyncMakesNothingDurable) {
  const auto file = StartWith("f", Bytes(512, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  ASSERT_FALSE(file->DataSync());
  EXPECT_EQ(FinalStates("f"), (States{"o", "n"}));
}

TEST_F(CrashEnumeratorTest, ManyPendingChangesAreSampled) {
  const auto file = StartWith("f", Bytes(size_t{512} * 40, 'o'));
  for (uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(file->WriteAt(HostOffset(i * 512), Bytes(512, 'n')));
  }
  const States states = FinalStates("f");
  const std::string all(40, 'n');
  const std::string none(40, 'o');
  EXPECT_TRUE(states.contains(all));
  EXPECT_TRUE(states.contains(none));
  for (size_t i = 0; i < 40; ++i) {
    std::string one = all;
    one[i] = 'o';
    EXPECT_TRUE(states.contains(one)) << "single loss " << i;
    one = none;
    one[i] = 'n';
    EXPECT_TRUE(states.contains(one)) << "single survival " << i;
    EXPECT_TRUE(states.contains(std::string(i, 'n') + std::string(40 - i, 'o'))) << "prefix " << i;
  }
  EXPECT_GT(states.size(), 300u);
}

TEST_F(CrashEnumeratorTest, TheSameSeedGivesTheSameStates) {
  const auto file = StartWith("f", Bytes(size_t{512} * 40, 'o'));
  for (uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(file->WriteAt(HostOffset(i * 512), Bytes(512, 'n')));
  }
  const auto recording = host_->StopRecording();
  const auto hashes = [&] {
    CrashEnumerator crash(recording, {.seed = 5, .random_subsets = 20});
    std::vector<uint64_t> all;
    crash.ForEachState([&](const CrashState& state) {
      all.push_back(state.hash);
      return true;
    });
    return all;
  };
  EXPECT_EQ(hashes(), hashes());
}

TEST_F(CrashEnumeratorTest, EqualStatesAreVisitedOnceAnEpoch) {
  const auto file = StartWith("f", Bytes(512, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  host_->Note("allows more: nothing to see again");
  ASSERT_TRUE(file->DataSync());
  host_->Mark("flush returned");
  CrashEnumerator crash(host_->StopRecording());
  std::vector<std::string> seen;
  crash.ForEachState([&](const CrashState& state) {
    seen.push_back(std::to_string(state.point) + Letters(state.MakeHost()->Contents("f")));
    return true;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"0o", "1n", "4n"}));
}

TEST_F(CrashEnumeratorTest, StatesCanBeChangedAndCrashedAgain) {
  const auto file = StartWith("f", Bytes(512, 'o'));
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 'n')));
  CrashEnumerator crash(host_->StopRecording());
  crash.ForEachState([&](const CrashState& state) {
    const auto again = state.MakeHost();
    const std::string before = Letters(again->Contents("f"));
    again->StartRecording();
    const auto recovered = again->OpenRoot()->Open("f", OpenMode::kReadWrite).value();
    EXPECT_TRUE(recovered->WriteAt(HostOffset(0), Bytes(512, 'r')));
    CrashEnumerator second(again->StopRecording());
    second.ForEachStateAt(second.points() - 1, [&](const CrashState& compound) {
      const std::string now = Letters(compound.MakeHost()->Contents("f"));
      EXPECT_TRUE(now == "r" || now == before) << now;
      return true;
    });
    EXPECT_EQ(Letters(state.MakeHost()->Contents("f")), before) << "a state is a value";
    return true;
  });
}

// A guest disk that is one raw file, with or without a correct flush: the oracle must pass the one
// and catch the other.
std::string FirstViolation(bool flush_works) {
  const auto host = MemHost::Create();
  constexpr uint64_t kSectors = 16;
  SectorModel model(1, kSectors, [&](std::string what, bool raises) {
    return raises ? host->Mark(std::move(what)) : host->Note(std::move(what));
  });
  std::vector<std::byte> image(kSectors * 512);
  model.Preload(0, image);
  host->PutFile("disk", image);
  host->StartRecording();
  const auto file = host->OpenRoot()->Open("disk", OpenMode::kReadWrite).value();
  Random random;
  for (int step = 0; step < 30; ++step) {
    const uint64_t lba = random.Below(kSectors);
    const uint64_t count = random.Between(1, std::min<uint64_t>(4, kSectors - lba));
    if (random.OneIn(6)) {
      const auto ticket = model.BeginZero(lba, count);
      EXPECT_TRUE(file->ZeroRange(HostOffset(lba * 512), count * 512));
      model.End(ticket);
    } else if (random.OneIn(4)) {
      const auto ticket = model.BeginFlush();
      EXPECT_TRUE(!flush_works || file->DataSync());
      model.End(ticket);
    } else {
      std::vector<std::byte> data(count * 512);
      const auto ticket = model.BeginWrite(lba, data);
      EXPECT_TRUE(file->WriteAt(HostOffset(lba * 512), data));
      model.End(ticket);
    }
  }
  const auto final_flush = model.BeginFlush();
  EXPECT_TRUE(!flush_works || file->DataSync());
  model.End(final_flush);
  CrashEnumerator crash(host->StopRecording(), {.random_subsets = 30, .pair_losses = 30});
  std::string violation;
  crash.ForEachState([&](const CrashState& state) {
    const std::string wrong = model.CheckCrash(state.point, 0, state.MakeHost()->Contents("disk"));
    if (!wrong.empty()) violation = state.Describe() + ": " + wrong;
    return violation.empty();
  });
  return violation;
}

TEST(CrashOracle, PassesADiskThatFlushes) { EXPECT_EQ(FirstViolation(true), ""); }

TEST(CrashOracle, CatchesADiskThatDoesNot) { EXPECT_NE(FirstViolation(false), ""); }

}  // namespace
}  // namespace chainfs
