// SPDX-License-Identifier: Apache-2.0
//
// The stamp oracle: what a sector may hold, and that every kind of wrong content is named.
#include <gtest/gtest.h>

#include <array>

#include "tests/support/stamp.h"

namespace chainfs {
namespace {

using Buffer = std::vector<std::byte>;

Buffer Sectors(uint64_t count) { return Buffer(count * kStampSize); }

TEST(Stamp, RoundTripAndDamage) {
  Buffer sector = Sectors(1);
  const Stamp stamp = {.disk = 3, .lba = 77, .sequence = 12};
  FillStamp(stamp, sector);
  EXPECT_EQ(ParseStamp(sector), stamp);
  for (const size_t at : {size_t{0}, size_t{17}, size_t{30}, size_t{300}, size_t{511}}) {
    Buffer damaged = sector;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(ParseStamp(damaged)) << at;
  }
  EXPECT_FALSE(ParseStamp(Sectors(1)));
}

TEST(SectorModel, AfterACrashOldOrNewSinceTheFlush) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1), b = Sectors(1), c = Sectors(1);
  model.End(model.BeginWrite(2, a));
  model.End(model.BeginWrite(2, b));
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 2, Sectors(1)), "") << "nothing was flushed";
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 2, a), "");
  model.End(model.BeginFlush());
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 2, Sectors(1)), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 2, a), "");
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 2, b), "");
  model.End(model.BeginWrite(2, c));
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 2, b), "");
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 2, c), "");
}

TEST(SectorModel, AFlushThatDidNotReturnRaisesNothing) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1);
  model.End(model.BeginWrite(0, a));
  const auto flush = model.BeginFlush();
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, Sectors(1)), "");
  model.End(flush);
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, Sectors(1)), "");
}

TEST(SectorModel, AWriteDuringAFlushIsNotCoveredByIt) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1), b = Sectors(1);
  model.End(model.BeginWrite(0, a));
  const auto flush = model.BeginFlush();
  model.End(model.BeginWrite(0, b));
  model.End(flush);
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, a), "");
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, b), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, Sectors(1)), "");
}

TEST(SectorModel, CrashPointsSeeOnlyWhatHadHappened) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1);
  const auto write = model.BeginWrite(0, a);  // time 0
  model.End(write);                           // 1
  const auto flush = model.BeginFlush();      // 2
  model.End(flush);                           // 3
  EXPECT_NE(model.CheckCrash(0, 0, a), "") << "not issued yet";
  EXPECT_EQ(model.CheckCrash(1, 0, a), "");
  EXPECT_EQ(model.CheckCrash(3, 0, Sectors(1)), "");
  EXPECT_NE(model.CheckCrash(4, 0, Sectors(1)), "");
}

TEST(SectorModel, ConcurrentWritesMayLandInEitherOrder) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1), b = Sectors(1);
  const auto first = model.BeginWrite(0, a);
  const auto second = model.BeginWrite(0, b);
  model.End(second);
  model.End(first);
  model.End(model.BeginFlush());
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, a), "");
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, b), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, Sectors(1)), "");
}

TEST(SectorModel, AFailedWriteMayLandLater) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1), b = Sectors(1);
  (void)model.BeginWrite(0, a);
  model.End(model.BeginFlush());
  EXPECT_EQ(model.CheckRead(model.BeginRead(), 0, a), "");
  EXPECT_EQ(model.CheckRead(model.BeginRead(), 0, Sectors(1)), "");
  model.End(model.BeginWrite(0, b));
  EXPECT_NE(model.CheckRead(model.BeginRead(), 0, Sectors(1)), "");
}

TEST(SectorModel, OnlyAReadThatRacesMayBeTorn) {
  SectorModel model(1, 8);
  Buffer a = Sectors(1), b = Sectors(1);
  model.End(model.BeginWrite(0, a));
  const SectorModel::Ticket second = model.BeginWrite(0, b);
  Buffer torn = a;
  std::ranges::copy(std::span(b).first(kStampSize / 2), torn.begin());
  const uint64_t during = model.BeginRead();
  EXPECT_EQ(model.CheckRead(during, 0, torn), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, torn), "");
  Buffer foreign = torn;
  foreign.back() ^= std::byte{1};
  EXPECT_NE(model.CheckRead(during, 0, foreign), "");
  model.End(second);
  EXPECT_EQ(model.CheckRead(during, 0, torn), "");
  EXPECT_NE(model.CheckRead(model.BeginRead(), 0, torn), "");
}

TEST(SectorModel, ZeroMustAndDiscardMayReadZero) {
  SectorModel model(1, 8);
  Buffer a = Sectors(2);
  const Buffer first(kStampSize);
  model.End(model.BeginWrite(0, a));
  const std::span<const std::byte> lba0 = std::span(a).first(kStampSize);
  const std::span<const std::byte> lba1 = std::span(a).subspan(kStampSize);
  model.End(model.BeginZero(0, 1));
  model.End(model.BeginDiscard(1, 1));
  EXPECT_EQ(model.CheckRead(model.BeginRead(), 0, Sectors(1)), "");
  EXPECT_NE(model.CheckRead(model.BeginRead(), 0, lba0), "");
  EXPECT_EQ(model.CheckRead(model.BeginRead(), 1, Sectors(1)), "");
  EXPECT_EQ(model.CheckRead(model.BeginRead(), 1, lba1), "");
}

TEST(SectorModel, PreloadedContentIsTheFloor) {
  SectorModel model(1, 8);
  Buffer a = Sectors(8);
  model.Preload(0, a);
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, a), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, Sectors(8)), "");
}

TEST(SectorModel, ExplainsWhatIsWrong) {
  SectorModel model(1, 8);
  Buffer a = Sectors(2), other = Sectors(1);
  model.Preload(0, a);
  const auto why = [&](std::span<const std::byte> sector) {
    return model.CheckCrash(UINT64_MAX, 0, sector);
  };
  EXPECT_NE(why(std::span(a).subspan(kStampSize)).find("the content of lba 1"), std::string::npos);
  EXPECT_NE(why(Sectors(1)).find("zeros"), std::string::npos);
  FillStamp({.disk = 9, .lba = 0, .sequence = 1}, other);
  EXPECT_NE(why(other).find("disk 9"), std::string::npos);
  other[100] = std::byte{0x55};
  EXPECT_NE(why(other).find("intact"), std::string::npos);
}

TEST(SectorModel, AcceptContinuesFromWhatWasFound) {
  SectorModel model(1, 4);
  Buffer a = Sectors(1), b = Sectors(1);
  model.End(model.BeginWrite(0, a));
  model.End(model.BeginWrite(0, b));
  ASSERT_EQ(model.CheckCrash(UINT64_MAX, 0, a), "");
  model.AcceptAsDurable(0, a);
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, a), "");
  EXPECT_NE(model.CheckCrash(UINT64_MAX, 0, b), "") << "it was lost, and must not come back";
}

}  // namespace
}  // namespace chainfs
