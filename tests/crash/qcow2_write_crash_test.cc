// SPDX-License-Identifier: Apache-2.0
//
// Crash states of the write path (invariants Q2-1 to Q2-8 of blocklayer/formats/qcow2/README.md):
// random guest writes, zeroing, discards and flushes on a recording host; then every crash point,
// many states each. Each state must open, have no corruption (leaks are permitted), and show in
// each sector the value flushed last or a later written one. A sample goes on being used, and a
// sample is judged by qemu-img.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios per case; CHAINFS_CRASH_STATES (default 24) states per
// point.
#include <gtest/gtest.h>

#include <cstdlib>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

struct Case {
  const char* name;
  const char* options;
  uint64_t size;  // bytes of the disk
  bool backing;   // the initial contents lie below, not in the image
  // The tables look like after a `qemu-img snapshot -c` that was killed: counted twice, no COPIED.
  bool shared = false;
  bool snapshot = false;  // an internal one of the initial contents, made by qemu-img
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class Qcow2WriteCrash : public ::testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    if (!file) {
      ADD_FAILURE() << file.error().message;
      return nullptr;
    }
    ImageOpenOptions options{.owner = cache_.NewOwner()};
    options.open_data_file = [&](const std::string& name) {
      return host->OpenRoot()->Open(name, OpenMode::kReadWrite);
    };
    auto image = OpenQcow2Image(*std::move(file), cache_, options);
    if (!image) {
      ADD_FAILURE() << image.error().message;
      return nullptr;
    }
    return *std::move(image);
  }

  // An image made by qemu-img, brought into memory.
  std::shared_ptr<MemHost> MakeHost() {
    const TempDir dir;
    std::vector<std::string> command = {"qemu-img", "create",           "-q", "-f", "qcow2",
                                        "-o",       GetParam().options, "-u"};
    if (GetParam().backing) {
      for (const char* word : {"-b", "base.raw", "-F", "raw"}) command.emplace_back(word);
    }
    command.emplace_back("a.qcow2");
    command.push_back(std::to_string(GetParam().size));
    const CommandResult made = RunCommand(command, {.working_directory = dir.path()});
    EXPECT_TRUE(made.ok()) << made.Describe();
    auto host = MemHost::Create();
    EXPECT_TRUE(host->ImportFrom(dir.path()));
    return host;
  }

  // 16-bit refcounts, one refcount block.
  static void Share(const std::shared_ptr<MemHost>& host) {
    std::vector<std::byte> bytes = host->Contents("a.qcow2");
    const auto get = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
    const auto l1_entries = LoadBigEndian<uint32_t>(bytes.data() + qcow2::kOffsetL1Size);
    const uint64_t cluster =
        1ull << LoadBigEndian<uint32_t>(bytes.data() + qcow2::kOffsetClusterBits);
    const uint64_t block = get(get(qcow2::kOffsetRefcountTable));
    const uint64_t entry_bytes =
        (get(qcow2::kOffsetIncompatible) & qcow2::kIncompatibleExtendedL2) != 0 ? 16 : 8;
    const auto share = [&](uint64_t at) {
      const uint64_t host_offset = get(at) & ~qcow2::kEntryCopied;
      if (host_offset == 0) return host_offset;
      StoreBigEndian(bytes.data() + at, host_offset);
      StoreBigEndian(bytes.data() + block + host_offset / cluster * 2, uint16_t{2});
      return host_offset;
    };
    for (uint64_t i = 0; i < l1_entries; ++i) {
      const uint64_t table = share(get(qcow2::kOffsetL1Table) + i * 8);
      for (uint64_t j = 0; table != 0 && j < cluster; j += entry_bytes) share(table + j);
    }
    host->PutFile("a.qcow2", bytes);
  }

  static void TakeSnapshot(const std::shared_ptr<MemHost>& host) {
    const TempDir dir;
    ASSERT_TRUE(host->ExportTo(dir.path()));
    if (GetParam().backing) WriteTextFile(dir / "base.raw", "");
    const CommandResult made =
        RunCommand({"qemu-img", "snapshot", "-c", "initial", dir / "a.qcow2"});
    ASSERT_TRUE(made.ok()) << made.Describe();
    const std::string text = ReadTextFile(dir / "a.qcow2");
    const auto bytes = std::as_bytes(std::span(text));
    host->PutFile("a.qcow2", {bytes.begin(), bytes.end()});
  }

  void ExpectSnapshotKept(WritableImage& image) {
    if (!GetParam().snapshot) return;
    ASSERT_EQ(image.snapshots().count, 1u);
    const auto snapshot = image.OpenSnapshot(0, cache_.NewOwner());
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    const auto shown = ReadWholeImage(**snapshot, below_.get());
    ASSERT_TRUE(shown) << shown.error().message;
    ASSERT_EQ(Difference(initial_, *shown), "") << "in the snapshot";
  }

  Status RandomOperation(WritableImage& image, SectorModel& model, Random& random) {
    const uint64_t sectors = model.sectors();
    const uint64_t cluster_sectors = image.cluster_size() / 512;
    const uint64_t lba = random.Below(sectors);
    const uint64_t count =
        std::min(sectors - lba, 1 + random.Below(2 * std::min<uint64_t>(cluster_sectors, 16)));
    switch (random.Below(12)) {
      case 0: {
        const auto ticket = model.BeginZero(lba, count);
        CHAINFS_TRY(
            image.WriteZeroes(GuestOffset(lba * 512), count * 512, random.OneIn(2), below_.get()));
        model.End(ticket);
        return {};
      }
      case 1: {
        const uint64_t from = RoundDown(lba, cluster_sectors);
        const uint64_t length = std::min(sectors - from, cluster_sectors * (1 + random.Below(3)));
        const auto ticket = model.BeginDiscard(from, length);
        CHAINFS_TRY(image.Discard(GuestOffset(from * 512), length * 512));
        model.End(ticket);
        return {};
      }
      case 2:
      case 3: {
        const auto ticket = model.BeginFlush();
        CHAINFS_TRY(image.Flush());
        model.End(ticket);
        return {};
      }
      case 4: {
        // A job's copy: changes nothing that shows.
        if (below_ == nullptr) return {};
        const uint64_t from = RoundDown(lba * 512, image.cluster_size());
        const uint64_t length = (1 + random.Below(3)) * image.cluster_size();
        std::vector<std::byte> data(std::min(length, sectors * 512 - from));
        CHAINFS_TRY(below_->ReadBelow(GuestOffset(from), data));
        if (random.OneIn(2)) CHAINFS_TRY(PopulateCompressed(image, GuestOffset(from), data));
        return image.Populate(GuestOffset(from), data);
      }
      case 5: {
        const uint64_t from = RoundDown(lba, cluster_sectors);
        const uint64_t length = std::min(sectors - from, cluster_sectors * (1 + random.Below(3)));
        std::vector<std::byte> data(length * 512);
        const auto ticket = model.BeginWrite(from, data);
        host_->PutFile("source.raw", data);
        CHAINFS_ASSIGN(const std::unique_ptr<File> source,
                       host_->OpenRoot()->Open("source.raw", OpenMode::kReadOnly));
        CHAINFS_TRY(
            image.WriteFromFile(GuestOffset(from * 512), data.size(), *source, HostOffset(0)));
        model.End(ticket);
        return {};
      }
      case 6: {
        // The reverse; only where the image shows what lies below.
        if (below_ == nullptr) return {};
        CHAINFS_ASSIGN(const std::vector<std::byte> shown, ReadWholeImage(image, below_.get()));
        for (uint64_t at = 0; at < shown.size(); at += image.cluster_size()) {
          const uint64_t length = std::min<uint64_t>(image.cluster_size(), shown.size() - at);
          const auto same = [&](const std::vector<std::byte>& bytes) {
            return std::span(bytes).subspan(at, length);
          };
          if (!std::ranges::equal(same(shown), same(below_->bytes()))) continue;
          CHAINFS_TRY(image.Unpopulate(GuestOffset(at), length));
        }
        return {};
      }
      default: {
        std::vector<std::byte> data(count * 512);
        const auto ticket = model.BeginWrite(lba, data);
        CHAINFS_TRY(image.Write(GuestOffset(lba * 512), data, below_.get()));
        model.End(ticket);
        return {};
      }
    }
  }

  void CheckState(const CrashState& state, const SectorModel& model, Random& random) {
    const auto host = state.MakeHost();
    const auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    ASSERT_TRUE(file);
    const auto report = CheckQcow2(**file);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(report->corruptions, 0u) << report->messages.front();
    std::unique_ptr<WritableImage> image = Open(host);
    ASSERT_NE(image, nullptr);
    const auto contents = ReadWholeImage(*image, below_.get());
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(model.CheckCrash(state.point, 0, *contents), "");
    ASSERT_NO_FATAL_FAILURE(ExpectSnapshotKept(*image));
    if (std::string_view(GetParam().options).contains("data_file_raw=on")) {
      ASSERT_EQ(Difference(*contents, host->Contents("d.raw")), "");
    }

    if (random.OneIn(40)) {
      // Damage that shows only when a free cluster is handed out again.
      ImageModel further(*image, below_.get(), *contents);
      for (int i = 0; i < 20; ++i) {
        const Status done = further.RandomOperation(random, image->cluster_size());
        ASSERT_TRUE(done) << done.error().message;
      }
      ASSERT_EQ(further.Verify(), "");
      ASSERT_NO_FATAL_FAILURE(ExpectSnapshotKept(*image));
      ASSERT_TRUE(image->Close());
      const auto after = CheckQcow2(image->file());
      ASSERT_TRUE(after);
      ASSERT_EQ(after->corruptions, 0u) << after->messages.front();
    }
    if (random.OneIn(400)) {
      const TempDir dir;
      ASSERT_TRUE(state.MakeHost()->ExportTo(dir.path()));
      WriteTextFile(dir / "base.raw", "");
      const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", "a.qcow2"},
                                             {.working_directory = dir.path()});
      ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    }
  }

  MetadataCache cache_{1 << 20};
  std::shared_ptr<MemHost> host_;  // of the scenario
  std::unique_ptr<BufferBelow> below_;
  std::vector<std::byte> initial_;
};

TEST_P(Qcow2WriteCrash, EveryStateIsOldOrNew) {
  Random random;
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", 2);
  uint64_t states = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    const auto host = MakeHost();
    host->PutFile("source.raw", {});
    host_ = host;
    SectorModel model(1, GetParam().size / 512, [&](std::string what, bool raises) {
      return raises ? host->Mark(std::move(what)) : host->Note(std::move(what));
    });
    std::vector<std::byte> initial(GetParam().size);
    model.Preload(0, initial);
    initial_ = initial;
    std::unique_ptr<WritableImage> image = Open(host);
    ASSERT_NE(image, nullptr);
    if (GetParam().backing) {
      below_ = std::make_unique<BufferBelow>(initial);
    } else {
      ASSERT_TRUE(image->Write(GuestOffset(0), initial, nullptr));
      ASSERT_TRUE(image->Flush());
    }
    if (GetParam().shared || GetParam().snapshot) {
      // With something below, only parts of it are the image's own.
      for (uint64_t at = 0; below_ != nullptr && at < initial.size(); at += 24 * 512) {
        ASSERT_TRUE(
            image->Write(GuestOffset(at), std::span(initial).subspan(at, 5 * 512), below_.get()));
      }
      ASSERT_TRUE(image->Close());
      image.reset();
      if (GetParam().shared) {
        Share(host);
      } else {
        ASSERT_NO_FATAL_FAILURE(TakeSnapshot(host));
      }
      image = Open(host);
      ASSERT_NE(image, nullptr);
    }
    host->StartRecording();
    for (int i = 0; i < 30; ++i) {
      const Status done = RandomOperation(*image, model, random);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_TRUE(image->Close());
    image.reset();
    CrashEnumerator crash(host->StopRecording(),
                          {.seed = random.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 24)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckState(state, model, random);
      return !HasFailure();
    });
    states += crash.visited();
  }
  RecordProperty("states", static_cast<int>(states));
  std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(states));
}

INSTANTIATE_TEST_SUITE_P(
    Options, Qcow2WriteCrash,
    ::testing::Values(
        Case{"c512", "cluster_size=512", 64 << 10, false},
        Case{"c512_backing", "cluster_size=512", 64 << 10, true},
        Case{"c512_refcount64", "cluster_size=512,refcount_bits=64", 64 << 10, true},
        Case{"c512_refcount1", "cluster_size=512,refcount_bits=1", 96 << 10, true},
        Case{"c1k", "cluster_size=1k", 128 << 10, true},
        Case{"c4k", "cluster_size=4k", 64 << 10, false},
        Case{"c4k_backing", "cluster_size=4k", 64 << 10, true},
        Case{"c4k_lazy", "cluster_size=4k,lazy_refcounts=on", 64 << 10, true},
        Case{"c4k_v2", "cluster_size=4k,compat=0.10", 64 << 10, false},
        Case{"c512_v2_backing", "cluster_size=512,compat=0.10", 64 << 10, true},
        Case{"c64k_backing", "cluster_size=64k", 512 << 10, true},
        Case{"c4k_zstd", "cluster_size=4k,compression_type=zstd", 64 << 10, true},
        Case{"c4k_shared", "cluster_size=4k", 64 << 10, false, true},
        Case{"c1k_shared", "cluster_size=1k", 64 << 10, false, true},
        Case{"d4k", "cluster_size=4k,data_file=d.raw", 64 << 10, false},
        Case{"d4k_backing", "cluster_size=4k,data_file=d.raw", 62 << 10, true},
        Case{"d16k_extended_backing", "cluster_size=16k,extended_l2=on,data_file=d.raw", 128 << 10,
             true},
        Case{"d4k_raw", "cluster_size=4k,data_file=d.raw,data_file_raw=on", 64 << 10, false},
        Case{"x16k", "cluster_size=16k,extended_l2=on", 128 << 10, false},
        Case{"x16k_backing", "cluster_size=16k,extended_l2=on", 128 << 10, true},
        Case{"x64k_backing", "cluster_size=64k,extended_l2=on", 512 << 10, true},
        Case{"x16k_zstd", "cluster_size=16k,extended_l2=on,compression_type=zstd", 128 << 10, true},
        Case{"x16k_shared", "cluster_size=16k,extended_l2=on", 120 << 10, true, true},
        Case{"c4k_snapshot", "cluster_size=4k", 64 << 10, false, false, true},
        Case{"c512_snapshot_backing", "cluster_size=512", 64 << 10, true, false, true},
        Case{"c64k_snapshot_backing", "cluster_size=64k", 512 << 10, true, false, true},
        Case{"x16k_snapshot_backing", "cluster_size=16k,extended_l2=on", 120 << 10, true, false,
             true}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
