// SPDX-License-Identifier: Apache-2.0
//
// Images with the dirty bit are checked in the background: nobody else waits, and what an image
// says costs no more than its file is large.
#include <fcntl.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "blocklayer/base/sync.h"
#include "blocklayer/io/posix.h"
#include "tests/support/descriptors.h"
#include "tests/support/forwarding_directory.h"
#include "tests/support/hostile_images.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

// Where reads of one file wait until the test lets them go on.
class Barrier {
 public:
  void Pass() {
    MutexLock lock(mu_);
    arrived_ = true;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mu_);
  }
  void WaitForArrival() {
    MutexLock lock(mu_);
    while (!arrived_) changed_.Wait(mu_);
  }
  void Open() {
    MutexLock lock(mu_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool arrived_ GUARDED_BY(mu_) = false;
  bool open_ GUARDED_BY(mu_) = false;
};

// A file of the host whose reads past its header stop at the barrier.
class BarredFile final : public File {
 public:
  BarredFile(std::unique_ptr<File> file, Barrier* barrier)
      : File(file->path()), file_(std::move(file)), barrier_(barrier) {}
  bool writable() const override { return file_->writable(); }
  Status ReopenForWriting() override { return file_->ReopenForWriting(); }
  Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) override {
    if (barrier_ != nullptr && file_->writable() && offset.value >= 65536) barrier_->Pass();
    return file_->ReadAt(offset, out);
  }
  Status WriteAt(HostOffset offset, std::span<const std::byte> data) override {
    return file_->WriteAt(offset, data);
  }
  Status Truncate(uint64_t size) override { return file_->Truncate(size); }
  Status PunchHole(HostOffset offset, uint64_t length) override {
    return file_->PunchHole(offset, length);
  }
  Status ZeroRange(HostOffset offset, uint64_t length) override {
    return file_->ZeroRange(offset, length);
  }
  Status CopyRangeFrom(File&, HostOffset, HostOffset, uint64_t) override {
    return Fail(ErrorKind::kUnsupported, "no copying");
  }
  Result<FileStat> Stat() override { return file_->Stat(); }
  Result<DataRun> RunAt(HostOffset offset) override { return file_->RunAt(offset); }
  Status SetImageLocks(ImageLockSet locks) override { return file_->SetImageLocks(locks); }

 private:
  Status DoDataSync() override { return file_->DataSync(); }

  const std::unique_ptr<File> file_;
  Barrier* const barrier_;
};

class BarredDirectory final : public ForwardingDirectory {
 public:
  BarredDirectory(std::unique_ptr<Directory> directory, Barrier& barrier)
      : ForwardingDirectory(std::move(directory)), barrier_(barrier) {}
  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override {
    CHAINFS_ASSIGN(std::unique_ptr<File> file, ForwardingDirectory::Open(name, mode));
    return std::make_unique<BarredFile>(std::move(file),
                                        name == "dirty.qcow2" ? &barrier_ : nullptr);
  }

 private:
  Barrier& barrier_;
};

class CatalogRepairTest : public CatalogTest {
 protected:
  void MakeDirty(const std::string& name) {
    Qemu({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", At(name), "1M"});
    const CommandResult killed = RunCommand({"qemu-io", "-f", "qcow2", "-c", "write -P 3 0 128k",
                                             "-c", "flush", "-c", "abort", At(name)});
    ASSERT_NE(killed.exit_code, 0);
    ASSERT_TRUE(IsDirty(name));
  }
  bool IsDirty(const std::string& name) const {
    std::ifstream file(At(name), std::ios::binary);
    char byte = 0;
    return file.seekg(79).get(byte) && (byte & 1) != 0;
  }
  DiskPtr WaitFor(const std::string& name) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      if (DiskPtr disk = catalog_->Find(name)) return disk;
      if (std::chrono::steady_clock::now() > deadline) return nullptr;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  CatalogOptions Barred() {
    CatalogOptions options;
    options.open_directory = [this](const std::string& path) -> Result<std::unique_ptr<Directory>> {
      CHAINFS_ASSIGN(std::unique_ptr<Directory> directory, OpenPosixDirectory(path));
      return std::make_unique<BarredDirectory>(std::move(directory), barrier_);
    };
    return options;
  }
  void TearDown() override { barrier_.Open(); }

  Barrier barrier_;
};

TEST_F(CatalogRepairTest, ADirtyImageAppearsByItself) {
  MakeDirty("dirty.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr dirty = WaitFor("dirty");
  ASSERT_NE(dirty, nullptr);
  EXPECT_FALSE(dirty->read_only());
  EXPECT_EQ(Peek(dirty, 0, 4), std::string(4, '\x03'));
  EXPECT_TRUE(catalog_->Broken().empty());
  ASSERT_TRUE(catalog_->Close());
  EXPECT_FALSE(IsDirty("dirty.qcow2"));
  Qemu({"qemu-img", "check", "-f", "qcow2", At("dirty.qcow2")});
}

TEST_F(CatalogRepairTest, ReadingADirtyBackingFileNeedsNoRepair) {
  MakeDirty("dirty.qcow2");
  MakeOverlay("vm.qcow2", "dirty.qcow2");
  ASSERT_TRUE(OpenAll());
  {
    const DiskPtr vm = catalog_->Find("vm");
    ASSERT_NE(vm, nullptr) << BrokenError("vm").message;
    EXPECT_EQ(Peek(vm, 0, 4), std::string(4, '\x03'));
    EXPECT_FALSE(vm->read_only());
    ASSERT_NE(catalog_->Find("dirty"), nullptr);
    EXPECT_EQ(AccessModesOf(At("dirty.qcow2")), std::vector{O_RDONLY});
    EXPECT_TRUE(IsDirty("dirty.qcow2"));
    // To be filled by a job it would have to be repaired first.
    const Result<LayerLease> locked = catalog_->leases().Take(vm->chain()->AllLayers()[1]);
    ASSERT_FALSE(locked);
    EXPECT_EQ(locked.error().kind, ErrorKind::kReadOnly);
    EXPECT_NE(locked.error().message.find("dirty.qcow2: cannot be written: it was not closed "
                                          "cleanly; unmount, and repair it with"),
              std::string::npos)
        << locked.error().message;
  }
  // Nor does it become writable unrepaired when nothing is built on it any more.
  std::filesystem::remove(At("vm.qcow2"));
  RescanTwice();
  ASSERT_NE(catalog_->Find("dirty"), nullptr);
  EXPECT_TRUE(catalog_->Find("dirty")->read_only());
  EXPECT_NE(NoteOf("dirty").find("read-only: it was not closed cleanly"), std::string::npos)
      << NoteOf("dirty");
  // The next mount repairs it.
  ASSERT_TRUE(OpenAll());
  const DiskPtr dirty = WaitFor("dirty");
  ASSERT_NE(dirty, nullptr);
  EXPECT_FALSE(dirty->read_only()) << NoteOf("dirty");
  EXPECT_FALSE(IsDirty("dirty.qcow2"));
  EXPECT_EQ(Peek(dirty, 0, 4), std::string(4, '\x03'));
}

TEST_F(CatalogRepairTest, NobodyWaitsForIt) {
  MakeDirty("dirty.qcow2");
  MakeQcow2("ok.qcow2");
  ASSERT_TRUE(OpenAll(Barred()));
  barrier_.WaitForArrival();
  // While it is being looked at: scans, snapshots, the lists.
  EXPECT_EQ(Shown(), std::vector<std::string>{"ok"});
  ASSERT_TRUE(catalog_->Rescan());
  const Error error = BrokenError("dirty");
  EXPECT_EQ(error.kind, ErrorKind::kBusy);
  EXPECT_NE(error.message.find("is being checked"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find(" % done)"), std::string::npos) << error.message;
  EXPECT_TRUE(catalog_->BeingChecked("dirty"));
  EXPECT_FALSE(catalog_->BeingChecked("ok"));
  EXPECT_TRUE(catalog_->Snapshot(catalog_->Find("ok"), {}));
  barrier_.Open();
  ASSERT_NE(WaitFor("dirty"), nullptr);
  EXPECT_FALSE(catalog_->BeingChecked("dirty"));
}

TEST_F(CatalogRepairTest, TheEndDoesNotWaitForIt) {
  MakeDirty("dirty.qcow2");
  ASSERT_TRUE(OpenAll(Barred()));
  barrier_.WaitForArrival();
  std::thread closer([&] { EXPECT_TRUE(catalog_->Close()); });
  // It is let go in the midst of its walk, and does not go on.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  barrier_.Open();
  closer.join();
  EXPECT_TRUE(IsDirty("dirty.qcow2"));
  ASSERT_TRUE(OpenAll());
  EXPECT_NE(WaitFor("dirty"), nullptr);
}

// 4 Mi entries of one table that are 2 MiB each would be 8 TiB to read.
TEST_F(CatalogRepairTest, ATableThatIsNamedTwiceIsReadOnce) {
  constexpr uint64_t kCluster = 2u << 20;
  constexpr uint64_t kEntries = 4u << 20;
  WriteHostileImage(At("evil.qcow2"),
                    {.cluster_bits = 21, .l1_entries = kEntries, .incompatible = 1}, 19 * kCluster);
  WriteWords(At("evil.qcow2"), 2 * kCluster, (1ull << 63) | 18 * kCluster, 0, kEntries);
  MakeQcow2("ok.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr evil = WaitFor("evil");
  ASSERT_NE(evil, nullptr);
  EXPECT_TRUE(evil->read_only());
  const std::string note = NoteOf("evil");
  EXPECT_NE(note.find("cannot be repaired here"), std::string::npos) << note;
  EXPECT_NE(note.find("in use already"), std::string::npos) << note;
  EXPECT_TRUE(IsDirty("evil.qcow2"));
  // And that is remembered.
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("evil"), evil);
}

// 4 Mi tables in the holes of a file of 34 MiB.
TEST_F(CatalogRepairTest, TablesInHolesCostNoMoreThanTheFileIsLarge) {
  constexpr uint64_t kCluster = 2u << 20;
  constexpr uint64_t kEntries = 4u << 20;
  WriteHostileImage(At("evil.qcow2"),
                    {.cluster_bits = 21, .l1_entries = kEntries, .incompatible = 1},
                    (32 + kEntries) * kCluster);
  WriteWords(At("evil.qcow2"), 2 * kCluster, (1ull << 63) | 32 * kCluster, kCluster, kEntries);
  ASSERT_TRUE(OpenAll());
  const DiskPtr evil = WaitFor("evil");
  ASSERT_NE(evil, nullptr);
  EXPECT_TRUE(evil->read_only());
  EXPECT_NE(NoteOf("evil").find("more tables than its file can hold"), std::string::npos)
      << NoteOf("evil");
}

// Refcount blocks for what lies between are not written.
TEST_F(CatalogRepairTest, AnImageThatIsMostlyHoleIsRepairedWithoutFillingIt) {
  WriteHostileImage(At("wide.qcow2"), {.incompatible = 1}, 1ull << 43);
  ASSERT_TRUE(OpenAll());
  const DiskPtr wide = WaitFor("wide");
  ASSERT_NE(wide, nullptr) << BrokenError("wide").message;
  EXPECT_FALSE(wide->read_only()) << NoteOf("wide");
  Fill(wide, 0, 4096, 'w');
  ASSERT_TRUE(catalog_->Close());
  EXPECT_FALSE(IsDirty("wide.qcow2"));
}

}  // namespace
}  // namespace chainfs
