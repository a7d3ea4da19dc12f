// SPDX-License-Identifier: Apache-2.0
//
// A host that is full at every call of a change that is no job: a resize, a snapshot of several
// disks. It is made or refused with a reason; the disks show what they showed, go on being used,
// and the next daemon finds them so.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 24 * 1024;

class ChangeError : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    const auto host = MemHost::Create();
    Guest guest(nullptr, kSize);
    for (const char* const name : {"a.qcow2", "b.qcow2"}) {
      BuildChain(host, {{.file = name, .size = kSize}}, guest, random_);
      if (HasFatalFailure()) return;
      shows_[StemOfLayer(name)] = FlatByHand(*host->OpenRoot(), name, ImageFormat::kQcow2).value();
    }
    start_ = host->Snapshot();
  }
  // As before, as far as both sizes reach.
  void ExpectShown(const Catalog& catalog, const std::string& name) {
    const DiskPtr disk = catalog.Find(name);
    ASSERT_NE(disk, nullptr) << name;
    auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    Bytes before = shows_.at(name);
    const size_t common = std::min(before.size(), contents->size());
    before.resize(common);
    contents->resize(common);
    ASSERT_EQ(Difference(before, *contents), "") << name;
  }
  // What the first sector holds, once more.
  static void ExpectWritable(const Catalog& catalog, const std::string& name) {
    const DiskPtr disk = catalog.Find(name);
    ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
    Bytes sector(kStampSize);
    ASSERT_TRUE(disk->Read(GuestOffset(0), sector));
    const Status written = disk->Write(GuestOffset(0), sector);
    ASSERT_TRUE(written) << written.error().message;
    ASSERT_TRUE(disk->Flush());
  }
  // `change` with the N-th call failing, N = 0, 1, 2...; it says whether it succeeded. `check`
  // looks at the catalog afterwards, and once more at the next daemon's.
  template <typename Change, typename Check>
  void AtEveryCall(const Change& change, const Check& check) {
    bool untouched = false;
    for (uint64_t n = 0; !untouched && !HasFailure(); ++n) {
      SCOPED_TRACE(n);
      ASSERT_LT(n, 2000u) << "the fault never stops striking";
      const auto host = MemHost::FromTree(start_);
      {
        auto catalog = OpenMemCatalog(host);
        ASSERT_TRUE(catalog);
        const size_t fault = host->AddFault({.matches = IsMutation, .skip = n, .error = ENOSPC});
        const Status changed = change(**catalog);
        untouched = host->FaultHits(fault) == 0;
        host->ClearFaults();
        if (untouched) {
          ASSERT_TRUE(changed) << changed.error().message;
        } else if (!changed) {
          ASSERT_FALSE(changed.error().message.empty());
        }
        for (const char* const name : {"a", "b"}) ExpectShown(**catalog, name);
        check(**catalog);
        if (HasFatalFailure()) return;
        (void)(*catalog)->Close();
      }
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog);
      for (const char* const name : {"a", "b"}) {
        ExpectShown(**catalog, name);
        if (HasFatalFailure()) return;
        ExpectWritable(**catalog, name);
      }
      check(**catalog);
      if (HasFatalFailure()) return;
      ASSERT_TRUE(change(**catalog) || untouched) << "once there is room";
      for (const char* const name : {"a", "b"}) ExpectShown(**catalog, name);
      ASSERT_TRUE((*catalog)->Close());
      ASSERT_EQ(CorruptionOf(*host->OpenRoot(), {"a.qcow2", "b.qcow2"}), "");
    }
  }

  Random random_;
  HostTree start_;
  std::map<std::string, Bytes> shows_;
};

TEST_F(ChangeError, AResizeThatGrows) {
  AtEveryCall(
      [](Catalog& catalog) { return catalog.Resize(catalog.Find("a"), {.size = 64 * kSize}); },
      [](const Catalog& catalog) {
        const uint64_t size = catalog.Find("a")->size();
        ASSERT_TRUE(size == kSize || size == 64 * kSize) << size;
      });
}

TEST_F(ChangeError, AResizeThatShrinks) {
  AtEveryCall(
      [](Catalog& catalog) {
        return catalog.Resize(catalog.Find("a"), {.size = kSize / 2, .cut_data = true});
      },
      [](const Catalog& catalog) {
        const uint64_t size = catalog.Find("a")->size();
        ASSERT_TRUE(size == kSize || size == kSize / 2) << size;
      });
}

TEST_F(ChangeError, ASnapshotOfSeveralDisks) {
  AtEveryCall(
      [](Catalog& catalog) -> Status {
        CHAINFS_TRY(catalog.moves().SnapshotTogether(
            {.members = {{.disk = catalog.Find("a")}, {.disk = catalog.Find("b")}}}));
        return {};
      },
      [](const Catalog& catalog) {
        ASSERT_EQ(catalog.Find("a")->chain()->depth(), catalog.Find("b")->chain()->depth())
            << "all of them or none";
      });
}

}  // namespace
}  // namespace chainfs
