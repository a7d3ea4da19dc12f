// SPDX-License-Identifier: Apache-2.0
//
// Persistent bitmaps against QEMU, both ways: what qemu-img has made is listed and counted as QEMU
// does, and what is recorded here QEMU reads back.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include <nlohmann/json.hpp>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class BitmapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = OpenPosixDirectory(dir_.path());
    ASSERT_TRUE(opened) << opened.error().message;
    directory_ = *std::move(opened);
  }

  std::string Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    EXPECT_TRUE(result.ok()) << result.Describe();
    return result.out;
  }
  void Create(const std::string& options = "") {
    std::vector<std::string> command = {"qemu-img", "create", "-q", "-f", "qcow2"};
    if (!options.empty()) command.insert(command.end(), {"-o", options});
    command.insert(command.end(), {"a.qcow2", "64M"});
    Run(command);
  }
  void AddBitmap(const std::string& name, const std::string& granularity = "65536") {
    Run({"qemu-img", "bitmap", "--add", "-g", granularity, "a.qcow2", name});
  }
  void QemuIo(const std::vector<std::string>& operations) {
    std::vector<std::string> command = {"qemu-io", "-f", "qcow2", "a.qcow2"};
    for (const std::string& operation : operations) {
      command.insert(command.end(), {"-c", operation});
    }
    Run(command);
  }

  std::unique_ptr<WritableImage> Open(bool read_only = false) {
    auto file = directory_->Open("a.qcow2", read_only ? OpenMode::kReadOnly : OpenMode::kReadWrite);
    EXPECT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), cache_,
                                {.read_only = read_only, .owner = cache_.NewOwner()});
    EXPECT_TRUE(image) << image.error().message;
    return image ? *std::move(image) : nullptr;
  }
  static std::vector<BitmapInfo> ListOf(Image& image) {
    const Result<std::vector<BitmapInfo>> listed = image.Bitmaps();
    EXPECT_TRUE(listed) << listed.error().message;
    return listed.value_or(std::vector<BitmapInfo>());
  }
  // Judged by qemu-img check and by ours.
  void ExpectClean() {
    Run({"qemu-img", "check", "-q", "a.qcow2"});
    const auto file = directory_->Open("a.qcow2", OpenMode::kReadOnly);
    ASSERT_TRUE(file);
    const Result<ImageCheckReport> report = CheckQcow2(**file);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->corruptions, 0u) << (report->messages.empty() ? "" : report->messages[0]);
    EXPECT_EQ(report->leaks, 0u);
  }

  // The granules that QEMU says are dirty, by number.
  using Granules = std::vector<uint64_t>;
  Granules DirtyInQemu(const std::string& name) {
    const auto info = nlohmann::json::parse(Run({"qemu-img", "info", "--output=json", "a.qcow2"}));
    uint64_t granularity = 0;
    for (const auto& bitmap : info["format-specific"]["data"]["bitmaps"]) {
      if (bitmap["name"] == name) granularity = bitmap["granularity"];
    }
    EXPECT_NE(granularity, 0u) << name << info;
    if (granularity == 0) return {};
    const std::string socket = dir_ / "nbd.sock";
    Command server(
        {"qemu-nbd", "-r", "-t", "-f", "qcow2", "-B", name, "-k", socket, dir_ / "a.qcow2"});
    for (int i = 0; i < 1000 && ::access(socket.c_str(), F_OK) != 0; ++i) ::usleep(10'000);
    const std::string map = Run({"qemu-img", "map", "--output=json", "--image-opts",
                                 "driver=nbd,server.type=unix,server.path=" + socket +
                                     ",x-dirty-bitmap=qemu:dirty-bitmap:" + name});
    server.Signal(SIGTERM);
    server.Wait();
    ::unlink(socket.c_str());
    Granules dirty;
    for (const auto& extent : nlohmann::json::parse(map)) {
      if (extent["data"] == true) continue;  // clean
      const uint64_t begin = extent["start"];
      const uint64_t length = extent["length"];
      for (uint64_t at = begin / granularity; at * granularity < begin + length; ++at) {
        dirty.push_back(at);
      }
    }
    return dirty;
  }

  static constexpr uint64_t kGranule = 65536;
  const TempDir dir_;
  std::unique_ptr<Directory> directory_;
  MetadataCache cache_{16 << 20};
};

TEST_F(BitmapTest, AreListedAsQemuMadeThem) {
  Create();
  AddBitmap("b0");
  AddBitmap("fine", "512");
  Run({"qemu-img", "bitmap", "--disable", "a.qcow2", "fine"});
  QemuIo({"write 0 1", "write 1M 200k", "discard 32M 64k"});
  ExpectClean();

  const auto image = Open(true);
  ASSERT_NE(image, nullptr);
  const std::vector<BitmapInfo> bitmaps = ListOf(*image);
  ASSERT_EQ(bitmaps.size(), 2u);
  EXPECT_EQ(bitmaps[0].name, "b0");
  EXPECT_EQ(bitmaps[0].granularity, 65536u);
  EXPECT_TRUE(bitmaps[0].enabled);
  EXPECT_FALSE(bitmaps[0].in_use);
  EXPECT_FALSE(bitmaps[0].inconsistent);
  EXPECT_EQ(bitmaps[0].dirty_bytes, 65536u * (1 + 4 + 1));
  EXPECT_EQ(bitmaps[1].name, "fine");
  EXPECT_EQ(bitmaps[1].granularity, 512u);
  EXPECT_FALSE(bitmaps[1].enabled);
  EXPECT_EQ(bitmaps[1].dirty_bytes, 0u);
}

// What QEMU reads of a bitmap: the offsets of granules that are dirty, of 64 KiB.
TEST_F(BitmapTest, QemuReadsWhatWasRecorded) {
  Create();
  AddBitmap("b0");
  AddBitmap("off");
  Run({"qemu-img", "bitmap", "--disable", "a.qcow2", "off"});
  QemuIo({"write 10M 1"});
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->writable()) << image->read_only_reason();
    EXPECT_FALSE(ListOf(*image)[0].in_use) << "opening changes nothing";
    const std::vector<std::byte> data(kGranule, std::byte{7});
    ASSERT_TRUE(image->Write(GuestOffset(3 * kGranule), data, nullptr));
    EXPECT_TRUE(ListOf(*image)[0].in_use);
    EXPECT_FALSE(ListOf(*image)[0].inconsistent);
    EXPECT_FALSE(ListOf(*image)[1].in_use) << "it records nothing";
    ASSERT_TRUE(image->Write(GuestOffset(5 * kGranule - 1), std::span(data).first(2), nullptr));
    ASSERT_TRUE(image->WriteZeroes(GuestOffset(20 * kGranule), kGranule, false, nullptr));
    ASSERT_TRUE(image->Discard(GuestOffset(30 * kGranule), 2 * kGranule));
    EXPECT_EQ(ListOf(*image)[0].dirty_bytes, 7 * kGranule);
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("b0"), (Granules{3, 4, 5, 20, 30, 31, 160}));
  EXPECT_EQ(DirtyInQemu("off"), Granules());
  ExpectClean();
  // And on, alternately.
  QemuIo({"write 40M 64k"});
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    const std::vector<std::byte> data(kGranule, std::byte{8});
    ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr));
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("b0"), (Granules{0, 3, 4, 5, 20, 30, 31, 160, 640}));
  ExpectClean();
}

TEST_F(BitmapTest, ACrashLeavesThemInUse) {
  Create();
  AddBitmap("b0");
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    const std::vector<std::byte> data(kGranule, std::byte{7});
    ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr));
    ASSERT_TRUE(image->Flush());
  }
  const auto json = nlohmann::json::parse(Run({"qemu-img", "info", "--output=json", "a.qcow2"}));
  const auto& bitmap = json["format-specific"]["data"]["bitmaps"][0];
  EXPECT_TRUE(bitmap["flags"].dump().contains("\"in-use\"")) << bitmap;
  ExpectClean();
  const auto image = Open();
  ASSERT_NE(image, nullptr);
  EXPECT_TRUE(ListOf(*image)[0].inconsistent);
  const std::vector<std::byte> data(kGranule, std::byte{7});
  ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr)) << "the image can be written";
  const auto change = [&](BitmapChange::Kind kind) {
    return image->ChangeBitmap({.kind = kind, .name = "b0"});
  };
  for (const auto kind :
       {BitmapChange::Kind::kClear, BitmapChange::Kind::kEnable, BitmapChange::Kind::kDisable}) {
    const Status changed = change(kind);
    ASSERT_FALSE(changed);
    EXPECT_TRUE(changed.error().message.contains("can only be removed")) << changed.error().message;
  }
  ASSERT_TRUE(change(BitmapChange::Kind::kRemove));
  ASSERT_TRUE(image->Close());
  EXPECT_TRUE(ListOf(*Open(true)).empty());
  ExpectClean();
}

TEST_F(BitmapTest, AreMadeChangedAndRemoved) {
  using enum BitmapChange::Kind;
  Create();
  const std::vector<std::byte> data(kGranule, std::byte{7});
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr));
    const Status added = image->ChangeBitmap({.kind = kAdd, .name = "one"});
    ASSERT_TRUE(added) << added.error().message;
    ASSERT_TRUE(image->ChangeBitmap({.kind = kAdd, .name = "two", .disabled = true}));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kAdd, .name = "gone"}));
    EXPECT_EQ(image->ChangeBitmap({.kind = kAdd, .name = "one"}).error().kind, ErrorKind::kExists);
    EXPECT_EQ(image->ChangeBitmap({.kind = kRemove, .name = "no"}).error().kind,
              ErrorKind::kNotFound);
    EXPECT_EQ(image->ChangeBitmap({.kind = kAdd, .name = "g", .granularity = 256}).error().kind,
              ErrorKind::kInvalidArgument);
    ASSERT_TRUE(image->Write(GuestOffset(kGranule), data, nullptr));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kEnable, .name = "two"}));
    ASSERT_TRUE(image->Write(GuestOffset(2 * kGranule), data, nullptr));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kDisable, .name = "one"}));
    ASSERT_TRUE(image->Write(GuestOffset(3 * kGranule), data, nullptr));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kRemove, .name = "gone"}));
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("one"), (Granules{1, 2}));
  EXPECT_EQ(DirtyInQemu("two"), (Granules{2, 3}));
  ExpectClean();
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->ChangeBitmap({.kind = kClear, .name = "one"}));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kClear, .name = "two"}));
    ASSERT_TRUE(image->Write(GuestOffset(9 * kGranule), data, nullptr));
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("one"), Granules());
  EXPECT_EQ(DirtyInQemu("two"), Granules{9});
  ExpectClean();
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->ChangeBitmap({.kind = kRemove, .name = "one"}));
    ASSERT_TRUE(image->ChangeBitmap({.kind = kRemove, .name = "two"}));
    ASSERT_TRUE(image->Close());
  }
  const std::string info = Run({"qemu-img", "info", "--output=json", "a.qcow2"});
  EXPECT_FALSE(info.contains("bitmaps")) << info;
  ExpectClean();
}

TEST_F(BitmapTest, FollowTheSizeOfTheDisk) {
  Create("cluster_size=4k");
  AddBitmap("b0", "512");
  AddBitmap("off", "512");
  QemuIo({"write 1M 512"});
  Run({"qemu-img", "bitmap", "--disable", "a.qcow2", "off"});
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->Grow(80 << 20, nullptr, 0));
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("b0").size(), (16u << 20) / 512 + 1) << "what is new is dirty";
  EXPECT_EQ(DirtyInQemu("off").size(), (16u << 20) / 512 + 1);
  ExpectClean();
  {
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->Shrink(2 << 20));
    ASSERT_TRUE(image->Close());
  }
  EXPECT_EQ(DirtyInQemu("b0"), Granules{2048});
  EXPECT_EQ(DirtyInQemu("off"), Granules{2048});
  ExpectClean();
}

TEST_F(BitmapTest, RestStoresThem) {
  Create();
  AddBitmap("b0");
  const auto image = Open();
  ASSERT_NE(image, nullptr);
  const std::vector<std::byte> data(kGranule, std::byte{7});
  ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr));
  ASSERT_TRUE(image->Rest());
  EXPECT_FALSE(ListOf(*image)[0].in_use);
  EXPECT_EQ(ListOf(*image)[0].dirty_bytes, kGranule);
  EXPECT_EQ(DirtyInQemu("b0"), Granules{0});
  ASSERT_TRUE(image->Write(GuestOffset(kGranule), data, nullptr));
  EXPECT_TRUE(ListOf(*image)[0].in_use);
  ASSERT_TRUE(image->Close());
  EXPECT_EQ(DirtyInQemu("b0"), (Granules{0, 1}));
  ExpectClean();
}

// Through every header that qemu-img makes, the first one is added to and the last one taken away.
TEST_F(BitmapTest, EveryHeaderTakesThem) {
  for (const std::string options :
       {"cluster_size=512", "cluster_size=4k", "cluster_size=64k", "cluster_size=2M",
        "extended_l2=on", "compression_type=zstd", "backing_file=base.raw,backing_fmt=raw",
        "cluster_size=512,backing_file=base.raw,backing_fmt=raw", "refcount_bits=1"}) {
    Run({"qemu-img", "create", "-q", "-f", "raw", "base.raw", "64M"});
    Create(options);
    const auto image = Open();
    ASSERT_NE(image, nullptr);
    const Status added = image->ChangeBitmap({.kind = BitmapChange::Kind::kAdd, .name = "b"});
    ASSERT_TRUE(added) << options << added.error().message;
    const std::vector<std::byte> data(kGranule, std::byte{7});
    ASSERT_TRUE(image->Write(GuestOffset(kGranule), data, nullptr));
    ASSERT_TRUE(image->Close());
    EXPECT_EQ(DirtyInQemu("b"), Granules{1}) << options;
    ExpectClean();
    const auto again = Open();
    ASSERT_TRUE(again->ChangeBitmap({.kind = BitmapChange::Kind::kRemove, .name = "b"}));
    ASSERT_TRUE(again->Close());
    ExpectClean();
    EXPECT_EQ(again->backing().has_value(), options.contains("backing"));
  }
}

}  // namespace
}  // namespace chainfs
