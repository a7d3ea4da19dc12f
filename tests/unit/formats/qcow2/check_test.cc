// SPDX-License-Identifier: Apache-2.0
//
// Checks in small windows of host clusters, stopped ones, and repairs that are killed. That the
// findings are those of qemu-img check is for check_against_qemu_test.
#include "blocklayer/formats/qcow2/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kCluster = 4096;

class Qcow2Check : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto directory = host_->OpenRoot();
    ASSERT_TRUE(
        CreateQcow2(*directory, "a.qcow2", {.virtual_size = 1024 * kCluster, .cluster_bits = 12}));
    auto image = OpenQcow2Image(Open(), cache_, {.owner = cache_.NewOwner()});
    ASSERT_TRUE(image);
    const Bytes data(300 * kCluster, std::byte{0x41});
    ASSERT_TRUE((*image)->Write(GuestOffset(0), data, nullptr));
    ASSERT_TRUE(
        (*image)->Write(GuestOffset(700 * kCluster), std::span(data).first(kCluster), nullptr));
    ASSERT_TRUE((*image)->Close());
  }
  std::unique_ptr<File> Open() { return *host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite); }
  ImageCheckReport Check(const ImageCheckControl& control = {}) {
    const auto file = Open();
    auto report = CheckQcow2(*file, control);
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : ImageCheckReport();
  }
  // Refcounts are 16 bits wide, all in one block.
  static size_t RefcountAt(const Bytes& bytes, uint64_t cluster) {
    const auto word = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
    return word(word(qcow2::kOffsetRefcountTable)) + cluster * 2;
  }
  void SetRefcount(uint64_t cluster, uint16_t count) {
    Bytes bytes = host_->Contents("a.qcow2");
    StoreBigEndian(bytes.data() + RefcountAt(bytes, cluster), count);
    host_->PutFile("a.qcow2", bytes);
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
};

TEST_F(Qcow2Check, AHealthyImageHasNothing) {
  const ImageCheckReport report = Check();
  EXPECT_EQ(report.corruptions, 0U);
  EXPECT_EQ(report.leaks, 0U);
  EXPECT_EQ(report.allocated_clusters, 301U);
  EXPECT_EQ(report.total_clusters, 1024U);
  EXPECT_TRUE(report.messages.empty());
}

TEST_F(Qcow2Check, SmallWindowsFindTheSame) {
  SetRefcount(20, 0);
  SetRefcount(200, 0);
  SetRefcount(250, 3);
  const ImageCheckReport whole = Check();
  EXPECT_EQ(whole.corruptions, 5U);  // two counts, three flags
  EXPECT_EQ(whole.leaks, 1U);
  for (const uint64_t clusters : {1UL, 7UL, 64UL, 200UL, 1000UL}) {
    ImageCheckControl control;
    control.count_bytes = clusters * 2;
    const ImageCheckReport report = Check(control);
    EXPECT_EQ(report.corruptions, whole.corruptions) << clusters;
    EXPECT_EQ(report.leaks, whole.leaks) << clusters;
    EXPECT_EQ(report.image_end, whole.image_end) << clusters;
    EXPECT_EQ(report.allocated_clusters, whole.allocated_clusters) << clusters;
  }
}

TEST_F(Qcow2Check, SmallWindowsRepairTheSame) {
  for (const uint64_t clusters : {3UL, 64UL, 1000UL}) {
    SetRefcount(20, 0);
    SetRefcount(200, 7);
    ImageCheckControl control;
    control.repair = ImageRepair::kAll;
    control.count_bytes = clusters * 2;
    const ImageCheckReport report = Check(control);
    EXPECT_EQ(report.corruptions, 0U) << clusters;
    EXPECT_EQ(report.leaks, 0U) << clusters;
    EXPECT_EQ(report.corruptions_fixed, 3U) << clusters;
    EXPECT_EQ(Check().corruptions + Check().leaks, 0U) << clusters;
  }
}

TEST_F(Qcow2Check, LeaksAreRepairedWhereTheyAre) {
  SetRefcount(200, 7);
  const uint64_t size = host_->Contents("a.qcow2").size();
  ImageCheckControl control;
  control.repair = ImageRepair::kLeaks;
  const ImageCheckReport report = Check(control);
  EXPECT_EQ(report.leaks, 0U);
  EXPECT_EQ(report.leaks_fixed, 1U);
  EXPECT_EQ(report.corruptions, 0U);
  EXPECT_EQ(host_->Contents("a.qcow2").size(), size);
}

TEST_F(Qcow2Check, LeaksAloneLeaveCorruptionsAlone) {
  SetRefcount(20, 0);
  SetRefcount(200, 2);
  ImageCheckControl control;
  control.repair = ImageRepair::kLeaks;
  const ImageCheckReport report = Check(control);
  EXPECT_EQ(report.leaks, 0U);
  EXPECT_GT(report.corruptions, 0U);
}

TEST_F(Qcow2Check, NothingIsFreedWhereAnEntryIsBad) {
  Bytes bytes = host_->Contents("a.qcow2");
  const auto word = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
  const uint64_t l2 = word(word(qcow2::kOffsetL1Table)) & qcow2::kEntryOffsetMask;
  StoreBigEndian(bytes.data() + l2, word(l2) ^ 512);
  host_->PutFile("a.qcow2", bytes);
  SetRefcount(200, 0);
  ImageCheckControl control;
  control.repair = ImageRepair::kAll;
  const ImageCheckReport before = Check();
  EXPECT_EQ(before.bad_entries, 1U);
  EXPECT_EQ(before.leaks, 0U);  // the entry still touches its cluster, and the next one
  const ImageCheckReport report = Check(control);
  EXPECT_EQ(report.bad_entries, 1U);
  EXPECT_LT(report.corruptions, before.corruptions);
}

TEST_F(Qcow2Check, StopsWhenItIsTold) {
  const std::atomic<bool> stop = true;
  ImageCheckControl control;
  control.stop = &stop;
  const auto report = CheckQcow2(*Open(), control);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kCancelled);
}

TEST_F(Qcow2Check, ProgressGoesForwardAndEnds) {
  std::vector<uint32_t> told;
  ImageCheckControl control;
  control.count_bytes = 64;
  control.percent = [&](uint32_t percent) { told.push_back(percent); };
  Check(control);
  ASSERT_FALSE(told.empty());
  EXPECT_TRUE(std::ranges::is_sorted(told));
  EXPECT_EQ(told.back(), 100U);
}

}  // namespace
}  // namespace chainfs
