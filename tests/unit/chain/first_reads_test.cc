// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/first_reads.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace chainfs {
namespace {

constexpr uint64_t kGranule = FirstReads::kGranule;

// Numbers of granules.
std::vector<uint64_t> All(FirstReads& reads) {
  std::vector<uint64_t> all;
  while (const auto offset = reads.Next()) all.push_back(offset->value / kGranule);
  return all;
}

TEST(FirstReads, EachGranuleComesOnceInTheOrderInWhichItWasFirstRead) {
  FirstReads reads(64);
  EXPECT_EQ(All(reads), std::vector<uint64_t>());
  reads.AfterRead(GuestOffset(7 * kGranule + 5), 1);
  reads.AfterRead(GuestOffset(0), 4096);
  reads.AfterRead(GuestOffset(7 * kGranule), kGranule);
  reads.AfterRead(GuestOffset(2 * kGranule - 1), 2);  // parts of two
  EXPECT_EQ(All(reads), (std::vector<uint64_t>{7, 0, 1, 2}));
  reads.AfterRead(GuestOffset(0), 10 * kGranule);
  EXPECT_EQ(All(reads), (std::vector<uint64_t>{3, 4, 5, 6, 8, 9}));
  reads.AfterRead(GuestOffset(uint64_t{INT64_MAX} - 100), 100);
  EXPECT_EQ(All(reads), (std::vector<uint64_t>{INT64_MAX / kGranule}));
}

TEST(FirstReads, WhatDoesNotFitGoesUnnoticedUntilAllWasHandedOut) {
  FirstReads reads(4);
  reads.AfterRead(GuestOffset(0), 10 * kGranule);
  EXPECT_EQ(reads.Next(), GuestOffset(0));
  reads.AfterRead(GuestOffset(20 * kGranule), 1);
  EXPECT_EQ(All(reads), (std::vector<uint64_t>{1, 2, 3}));
  reads.AfterRead(GuestOffset(20 * kGranule), 1);
  reads.AfterRead(GuestOffset(3 * kGranule), 1);  // is forgotten
  EXPECT_EQ(All(reads), (std::vector<uint64_t>{20, 3}));
}

TEST(FirstReads, ReadersAtOnceLoseNothingOfWhatFits) {
  constexpr uint64_t kEach = 500;
  FirstReads reads(2048);
  std::vector<std::thread> readers;
  for (uint64_t t = 0; t < 4; ++t) {
    readers.emplace_back([&, t] {
      // Half of them are another one's, too.
      for (uint64_t i = 0; i < kEach; ++i) {
        reads.AfterRead(GuestOffset((t * kEach / 2 + i) * kGranule), 1);
      }
    });
  }
  std::vector<uint64_t> seen;
  while (seen.size() < 1000) {
    const std::vector<uint64_t> more = All(reads);
    seen.insert(seen.end(), more.begin(), more.end());
  }
  for (std::thread& reader : readers) reader.join();
  const std::vector<uint64_t> rest = All(reads);
  seen.insert(seen.end(), rest.begin(), rest.end());
  EXPECT_EQ(seen.size(), 5 * kEach / 2);
  EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), seen.size());
}

// It begins anew again and again; what it hands out was read.
TEST(FirstReads, BeginningAnewBesideReadersInventsNothing) {
  FirstReads reads(8);
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (uint64_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      for (uint64_t i = 0; !stop; i = (i + 7) % 1000) {
        reads.AfterRead(GuestOffset((1000 * (t + 1) + i) * kGranule), 1);
      }
    });
  }
  for (int handed_out = 0; handed_out < 5000;) {
    for (const uint64_t granule : All(reads)) {
      EXPECT_TRUE(granule >= 1000 && granule < 4000) << granule;
      ++handed_out;
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace chainfs
