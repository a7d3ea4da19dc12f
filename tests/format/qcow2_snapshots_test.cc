// SPDX-License-Identifier: Apache-2.0
//
// Images with internal snapshots, which qemu-img makes, goes back to and deletes between rounds of
// our changes: the disk and every snapshot keep what they must show, for us and for qemu, and
// `qemu-img check` finds nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

struct Case {
  const char* name;
  const char* options;  // of qemu-img create -o
  bool backing = false;
  size_t most = 5;  // snapshots at once; qemu needs a reference more to go back to one
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

constexpr uint64_t kSize = 3 * 1024 * 1024 + 512 * 3;

struct Saved {
  std::string name;
  std::vector<std::byte> shows;
};

class Qcow2Snapshots : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto opened = OpenPosixDirectory(dir_.path());
    ASSERT_TRUE(opened) << opened.error().message;
    directory_ = *std::move(opened);
    const Case& c = GetParam();
    std::vector<std::string> create = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", c.options};
    if (c.backing) {
      Run({"qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "4M"});
      Run({"qemu-io", "-f", "qcow2", "base.qcow2", "-c", "write -P 7 0 2M", "-c",
           "write -P 8 2500k 1500k"});
      Run({"qemu-img", "convert", "-O", "raw", "base.qcow2", "base.raw"});
      below_ = std::make_unique<BufferBelow>(ReadBytes("base.raw"));
      create.insert(create.end(), {"-b", "base.qcow2", "-F", "qcow2"});
    }
    create.insert(create.end(), {"a.qcow2", std::to_string(kSize)});
    Run(create);
    QemuWrites();
  }

  void Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    ASSERT_TRUE(result.ok()) << result.Describe();
  }

  std::vector<std::byte> ReadBytes(const std::string& name) {
    const std::string text = ReadTextFile(dir_ / name);
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    return {data, data + text.size()};
  }

  void QemuWrites() {
    std::vector<std::string> command = {"qemu-io", "-f", "qcow2", "a.qcow2"};
    for (int i = 0; i < 6; ++i) {
      const uint64_t at = random_.Below(kSize / 512) * 512;
      const uint64_t length = std::min(kSize - at, (1 + random_.Below(300)) * 512);
      command.emplace_back("-c");
      command.push_back(fmt::format("write -P {} {} {}", 1 + random_.Below(255), at, length));
    }
    command.insert(command.end(), {"-c", "write -z 1M 300k"});
    Run(command);
  }

  std::vector<std::byte> WhatQemuShows() {
    Run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", "a.qcow2", "disk.raw"});
    return ReadBytes("disk.raw");
  }

  // Makes one, goes back to one, or deletes one.
  void QemuChangesSnapshots(std::vector<Saved>& saved) {
    const size_t which = saved.empty() ? 0 : random_.Below(saved.size());
    if (saved.size() == GetParam().most || (saved.size() > 1 && random_.Below(4) == 0)) {
      Run({"qemu-img", "snapshot", "-d", saved[which].name, "a.qcow2"});
      saved.erase(saved.begin() + static_cast<ptrdiff_t>(which));
    } else if (!saved.empty() && random_.Below(4) == 0) {
      Run({"qemu-img", "snapshot", "-a", saved[which].name, "a.qcow2"});
    } else {
      const std::string name = fmt::format("s {}", ++made_);
      Run({"qemu-img", "snapshot", "-c", name, "a.qcow2"});
      saved.push_back({.name = name, .shows = WhatQemuShows()});
    }
  }

  void ExpectQemuShows(const std::vector<Saved>& saved) {
    for (const Saved& snapshot : saved) {
      Run({"qemu-img", "convert", "-l", "snapshot.name=" + snapshot.name, "-f", "qcow2", "-O",
           "raw", "a.qcow2", "snapshot.raw"});
      EXPECT_EQ(Difference(snapshot.shows, ReadBytes("snapshot.raw")), "") << snapshot.name;
    }
  }

  void ExpectWeShow(WritableImage& image, const std::vector<Saved>& saved) {
    ASSERT_EQ(image.snapshots().count, saved.size());
    for (size_t i = 0; i < saved.size(); ++i) {
      EXPECT_EQ(image.snapshots().kept[i].name, saved[i].name);
      const auto snapshot = image.OpenSnapshot(i, cache_.NewOwner());
      ASSERT_TRUE(snapshot) << snapshot.error().message;
      const auto shown = ReadWholeImage(**snapshot, below_.get());
      ASSERT_TRUE(shown) << shown.error().message;
      EXPECT_EQ(Difference(saved[i].shows, *shown), "") << saved[i].name;
    }
  }

  void ExpectSound(bool leaks_allowed) {
    const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir_ / "a.qcow2"});
    ASSERT_TRUE(check.exit_code == 0 || (leaks_allowed && check.exit_code == 3))
        << check.Describe();
    const auto file = directory_->Open("a.qcow2", OpenMode::kReadOnly);
    ASSERT_TRUE(file);
    const auto report = CheckQcow2(**file);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    EXPECT_EQ(report->leaks == 0, check.exit_code == 0);
  }

  std::unique_ptr<WritableImage> Open() {
    auto file = directory_->Open("a.qcow2", OpenMode::kReadWrite);
    EXPECT_TRUE(file) << file.error().message;
    if (!file) return nullptr;
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    EXPECT_TRUE(image) << image.error().message;
    return image ? *std::move(image) : nullptr;
  }

  const TempDir dir_;
  std::unique_ptr<Directory> directory_;
  std::unique_ptr<BufferBelow> below_;
  Random random_;
  MetadataCache cache_{1 << 20};
  int made_ = 0;
};

TEST_P(Qcow2Snapshots, OursAndQemusChangesAlternate) {
  std::vector<Saved> saved;
  for (int round = 0; round < Effort(5); ++round) {
    QemuChangesSnapshots(saved);
    if (random_.Below(3) == 0) QemuWrites();
    std::unique_ptr<WritableImage> image = Open();
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->writable()) << image->read_only_reason();
    ImageModel model(*image, below_.get(), WhatQemuShows());
    ASSERT_EQ(model.Verify(), "");
    for (int i = 0; i < 25; ++i) {
      const Status done =
          model.RandomOperation(random_, std::max<uint64_t>(image->cluster_size(), 16384));
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(model.Verify(), "");
    ExpectWeShow(*image, saved);
    const bool killed = random_.Below(3) == 0;
    ASSERT_TRUE(killed ? image->Flush() : image->Close());
    image.reset();
    ExpectSound(killed);
    if (killed) Run({"qemu-img", "check", "-q", "-r", "leaks", "a.qcow2"});
    EXPECT_EQ(Difference(model.expected(), WhatQemuShows()), "");
    ExpectQemuShows(saved);
    if (HasFailure()) return;
  }
  // Back to each of them.
  for (const Saved& snapshot : saved) {
    Run({"qemu-img", "snapshot", "-a", snapshot.name, "a.qcow2"});
    EXPECT_EQ(Difference(snapshot.shows, WhatQemuShows()), "") << snapshot.name;
  }
  ExpectSound(false);
}

INSTANTIATE_TEST_SUITE_P(
    Options, Qcow2Snapshots,
    ::testing::Values(
        Case{"v2", "compat=0.10"}, Case{"v2_backing", "compat=0.10,cluster_size=4k", true},
        Case{"v3", "compat=1.1"}, Case{"v3_backing", "compat=1.1", true},
        Case{"v3_512", "cluster_size=512"}, Case{"v3_4K_backing", "cluster_size=4k", true},
        Case{"v3_2M", "cluster_size=2M"}, Case{"refcount_2", "refcount_bits=2", false, 1},
        Case{"refcount_4", "refcount_bits=4,cluster_size=4k", true},
        Case{"refcount_8_512", "refcount_bits=8,cluster_size=512", true},
        Case{"refcount_64", "refcount_bits=64"}, Case{"lazy", "lazy_refcounts=on", true},
        Case{"zstd_4K", "compression_type=zstd,cluster_size=4k", true},
        Case{"extended", "extended_l2=on"}, Case{"extended_16K", "extended_l2=on,cluster_size=16k"},
        Case{"extended_16K_backing", "extended_l2=on,cluster_size=16k", true},
        Case{"extended_refcount_8", "extended_l2=on,refcount_bits=8", true}),
    [](const auto& param) { return param.param.name; });

class Qcow2SnapshotsOnce : public Qcow2Snapshots {};

// The disk may change its size; a snapshot keeps its own.
TEST_P(Qcow2SnapshotsOnce, ResizedDisksLeaveSnapshotsAlone) {
  Run({"qemu-img", "snapshot", "-c", "before", "a.qcow2"});
  std::vector<Saved> saved = {{.name = "before", .shows = WhatQemuShows()}};
  std::unique_ptr<WritableImage> image = Open();
  ASSERT_NE(image, nullptr);
  ASSERT_TRUE(image->Shrink(1 << 20));
  ExpectWeShow(*image, saved);
  ASSERT_TRUE(image->Grow(16 << 20, below_.get(), 4 << 20));
  ExpectWeShow(*image, saved);
  ASSERT_TRUE(image->Close());
  image.reset();
  ExpectSound(false);
  std::vector<std::byte> now(saved[0].shows);
  now.resize(1 << 20);
  now.resize(16 << 20);
  EXPECT_EQ(Difference(now, WhatQemuShows()), "");
  Run({"qemu-img", "snapshot", "-a", "before", "a.qcow2"});
  EXPECT_EQ(Difference(saved[0].shows, WhatQemuShows()), "");
  ExpectSound(false);
}

// What they leave unallocated, the backing file shows.
TEST_P(Qcow2SnapshotsOnce, TheBackingFileCannotChange) {
  Run({"qemu-img", "snapshot", "-c", "night \"1\"", "a.qcow2"});
  std::unique_ptr<WritableImage> image = Open();
  ASSERT_NE(image, nullptr);
  const std::string before = ReadTextFile(dir_ / "a.qcow2");
  const Status refused = image->CanSetBacking(std::nullopt);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.ends_with(
      "a.qcow2: its backing file cannot change: its internal snapshot \"night %221%22\" may need "
      "it; delete them with qemu-img snapshot -d while it is not mounted"))
      << refused.error().message;
  EXPECT_FALSE(image->SetBacking(std::nullopt));
  EXPECT_EQ(ReadTextFile(dir_ / "a.qcow2"), before);
}

INSTANTIATE_TEST_SUITE_P(Options, Qcow2SnapshotsOnce,
                         ::testing::Values(Case{"v3", "compat=1.1", true},
                                           Case{"v3_512", "cluster_size=512", true},
                                           Case{"extended", "extended_l2=on", true}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
