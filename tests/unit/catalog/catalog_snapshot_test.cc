// SPDX-License-Identifier: Apache-2.0
//
// Live snapshots: where the chain goes on, what is recorded, and that no record, no file and no
// crash makes guests write beneath their own data.
#include <sys/stat.h>

#include <filesystem>

#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/io/posix.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

class CatalogSnapshotTest : public CatalogTest {
 protected:
  void TakeSnapshot(const std::string& disk, const SnapshotRequest& request = {}) {
    const Result<LayerPtr> made = catalog_->Snapshot(catalog_->Find(disk), request);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(catalog_->Find(disk)->chain()->active, *made);
  }
  ErrorKind SnapshotError(const std::string& disk, const std::string& target,
                          bool anywhere = false) {
    const SnapshotRequest request{.target = target, .anywhere = anywhere};
    const auto plan = catalog_->PlanSnapshot(catalog_->Find(disk), request);
    const auto made = catalog_->Snapshot(catalog_->Find(disk), request);
    if (plan || made) return ErrorKind::kCancelled;
    EXPECT_EQ(plan.error().kind, made.error().kind);
    return made.error().kind;
  }
  void Check(const std::string& name) {
    const CommandResult check = RunCommand({"qemu-img", "check", At(name)});
    EXPECT_TRUE(check.ok()) << check.Describe();
  }
};

TEST_F(CatalogSnapshotTest, TheDiskGoesOnOnANewLayerAndSoAfterARestart) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  DiskPtr vm1 = catalog_->Find("vm1");
  Fill(vm1, 0, 65536, 'a');
  EXPECT_EQ(*catalog_->PlanSnapshot(vm1, {}), At("vm1.1.qcow2"));
  TakeSnapshot("vm1");
  EXPECT_EQ(catalog_->Find("vm1"), vm1) << "the same disk";
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.qcow2"}));
  EXPECT_TRUE(catalog_->Find("vm1.qcow2")->read_only());
  EXPECT_FALSE(vm1->read_only());
  Fill(vm1, 512, 512, 'b');
  TakeSnapshot("vm1");
  Fill(vm1, 1024, 512, 'c');
  const std::string expected =
      std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c') + "a";
  EXPECT_EQ(Peek(vm1, 0, 1537), expected);
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.1", "vm1.qcow2"}));
  ASSERT_TRUE(catalog_->Close());
  vm1.reset();

  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.1", "vm1.qcow2"}));
  EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 1537), expected);
  EXPECT_FALSE(catalog_->Find("vm1")->read_only());
  EXPECT_TRUE(catalog_->Find("vm1.1")->read_only());
  EXPECT_EQ(Peek(catalog_->Find("vm1.qcow2"), 512, 1), "a");
  ASSERT_TRUE(catalog_->Close());
  catalog_.reset();
  for (const char* name : {"vm1.qcow2", "vm1.1.qcow2", "vm1.2.qcow2"}) Check(name);
}

TEST_F(CatalogSnapshotTest, TheOverlayTakesAfterTheLayerThatItContinues) {
  MakeRaw("vm1.raw");
  ASSERT_EQ(::chmod(At("vm1.raw").c_str(), 0640), 0);
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(At("vm1.raw").c_str(), 4321, 1234), 0);
  }
  ASSERT_TRUE(OpenAll());
  TakeSnapshot("vm1", {.target = "next.qcow2"});
  struct stat st = {};
  ASSERT_EQ(::stat(At("next.qcow2").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  if (::geteuid() == 0) {
    EXPECT_EQ(st.st_uid, 4321u);
    EXPECT_EQ(st.st_gid, 1234u);
  }
  const auto backing = catalog_->Find("vm1")->chain()->active->image->backing();
  EXPECT_EQ(backing, (BackingReference{.name = "vm1.raw", .format = "raw"}));
  EXPECT_EQ(
      ReadTextFile(At(".chainfs/chain-vm1")),
      "{\n  \"version\": 2,\n  \"name\": \"vm1\",\n  \"active\": \"next.qcow2\",\n"
      "  \"format\": \"qcow2\",\n  \"origin\": \"vm1.raw\",\n  \"backing\": \"vm1.raw\"\n}\n");
}

// After a rename the overlay names the file as it is called now.
TEST_F(CatalogSnapshotTest, ARenamedLayerIsNamedAsItIsCalledNow) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr still_open = catalog_->Find("vm1");
  ASSERT_EQ(::rename(At("vm1.qcow2").c_str(), At("web.qcow2").c_str()), 0);
  EXPECT_EQ(SnapshotError("vm1", ""), ErrorKind::kStale) << "not scanned yet";
  ASSERT_TRUE(catalog_->Rescan());
  TakeSnapshot("web");
  EXPECT_EQ(catalog_->Find("web")->chain()->active->image->backing()->name, "web.qcow2");
  EXPECT_NE(ReadTextFile(At(".chainfs/chain-web")).find("\"backing\": \"web.qcow2\""),
            std::string::npos);
}

TEST_F(CatalogSnapshotTest, ATargetThatSomethingNamesIsRefused) {
  MakeQcow2("vm1.qcow2");
  MakeQcow2("vm2.qcow2");
  MakeOverlay("orphan.qcow2", "missing.qcow2");
  ASSERT_TRUE(OpenAll());
  TakeSnapshot("vm1", {.target = "active.qcow2"});
  // The active layer of a running disk goes missing; then the header's and the record's words.
  ASSERT_EQ(::unlink(At("active.qcow2").c_str()), 0);
  EXPECT_EQ(SnapshotError("vm2", "active.qcow2"), ErrorKind::kExists);
  EXPECT_EQ(SnapshotError("vm2", "missing.qcow2"), ErrorKind::kExists);
  ASSERT_EQ(::unlink(At("vm1.qcow2").c_str()), 0);
  EXPECT_EQ(SnapshotError("vm2", "vm1.qcow2"), ErrorKind::kExists);
  EXPECT_EQ(SnapshotError("vm2", "./vm1.qcow2"), ErrorKind::kExists);
  TakeSnapshot("vm2", {.target = "free.qcow2"});
}

TEST_F(CatalogSnapshotTest, DirectoriesForReadingGetNoNewFiles) {
  TempDir other;
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll({.backing_dirs = {other.path()}}));
  EXPECT_EQ(SnapshotError("vm1", other / "x.qcow2"), ErrorKind::kAccess);
  EXPECT_FALSE(std::filesystem::exists(other / "x.qcow2"));
  EXPECT_TRUE(
      catalog_->Snapshot(catalog_->Find("vm1"), {.target = other / "x.qcow2", .anywhere = true}));
}

TEST_F(CatalogSnapshotTest, TargetsThatCannotBeAreRefusedAndLeaveNothing) {
  TempDir other;
  MakeQcow2("vm1.qcow2");
  MakeOverlay("top.qcow2", "vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(SnapshotError("vm1", ""), ErrorKind::kReadOnly);
  EXPECT_EQ(SnapshotError("top", "vm1.qcow2"), ErrorKind::kExists);
  EXPECT_EQ(SnapshotError("top", "none/x.qcow2"), ErrorKind::kNotFound);
  EXPECT_EQ(SnapshotError("top", "../x.qcow2"), ErrorKind::kAccess);
  EXPECT_EQ(SnapshotError("top", other / "x.qcow2"), ErrorKind::kAccess);
  EXPECT_EQ(SnapshotError("top", other / "none/x.qcow2", true), ErrorKind::kNotFound);
  EXPECT_EQ(SnapshotError("top", "x.raw"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(SnapshotError("top", "x\n.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(SnapshotError("top", "sub/"), ErrorKind::kInvalidArgument);
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  ASSERT_EQ(::symlink(".chainfs", At("link").c_str()), 0);
  for (const std::string records : {".chainfs/", "link/", ".chainfs/../.chainfs//"}) {
    EXPECT_EQ(SnapshotError("top", records + "x.qcow2"), ErrorKind::kInvalidArgument) << records;
  }
  EXPECT_EQ(catalog_->Snapshot(catalog_->Find("top"), {.cluster_bits = 5}).error().kind,
            ErrorKind::kInvalidArgument);
  EXPECT_TRUE(catalog_->records().ReadAll("chain-")->empty());
  EXPECT_EQ(Shown(), (Names{"top", "vm1"}));
  EXPECT_FALSE(catalog_->Find("top")->read_only());
}

TEST_F(CatalogSnapshotTest, AChainMayLeaveTheSourcesAndComeBack) {
  TempDir other;
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  TakeSnapshot("vm1", {.target = other / "x.qcow2", .anywhere = true});
  Fill(catalog_->Find("vm1"), 0, 512, 'x');
  // Beside the active layer, which is outside by now: not for everybody.
  EXPECT_EQ(SnapshotError("vm1", ""), ErrorKind::kAccess);
  EXPECT_FALSE(std::filesystem::exists(other / "vm1.1.qcow2"));
  TakeSnapshot("vm1", {.anywhere = true});
  EXPECT_EQ(catalog_->Find("vm1")->chain()->active->path, other / "vm1.1.qcow2");
  TakeSnapshot("vm1", {.target = At("back.qcow2")});
  ASSERT_TRUE(catalog_->Close());
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.qcow2"}));
  EXPECT_EQ(catalog_->Find("vm1")->chain()->depth(), 4u);
  EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 1), "x");
  // Only the chain of the record may go there.
  MakeOverlay("evil.qcow2", other / "x.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(BrokenError("evil").kind, ErrorKind::kAccess);
}

TEST_F(CatalogSnapshotTest, AMissingActiveLayerIsNeverReplacedByAnOlderOne) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  TakeSnapshot("vm1");
  catalog_.reset();
  ASSERT_EQ(::rename(At("vm1.1.qcow2").c_str(), At("away").c_str()), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1.qcow2"}));
  EXPECT_TRUE(catalog_->Find("vm1.qcow2")->read_only()) << "its overlay may come back";
  const Error error = BrokenError("vm1");
  EXPECT_EQ(error.kind, ErrorKind::kNotFound);
  for (const std::string& part : {At("vm1.1.qcow2"), At(".chainfs/chain-vm1"), At("vm1.qcow2")}) {
    EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
  }
  ASSERT_EQ(::rename(At("away").c_str(), At("vm1.1.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.qcow2"}));
  EXPECT_FALSE(catalog_->Find("vm1")->read_only());
}

// What a record keeps from being written counts however it and the mount spell a directory.
TEST_F(CatalogSnapshotTest, ABaseIsKeptUnderAnySpellingOfItsDirectory) {
  TempDir other;
  ASSERT_EQ(::mkdir((other / "bases").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("bases", (other / "link").c_str()), 0);
  MakeQcow2("vm1.qcow2");
  ASSERT_EQ(::rename(At("vm1.qcow2").c_str(), (other / "bases/vm1.qcow2").c_str()), 0);
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  const auto write = [&](const std::string& base) {
    WriteTextFile(At(".chainfs/chain-x"),
                  "version=1\nname=x\nactive=gone.qcow2\nformat=qcow2\norigin=" + base +
                      "\nbacking=" + base + "\n");
    ASSERT_EQ(::chmod(At(".chainfs/chain-x").c_str(), 0600), 0);
  };
  for (const std::string& base :
       {other / "link/vm1.qcow2", other / "bases/vm1.qcow2", other / "bases/.//vm1.qcow2"}) {
    write(base);
    ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                      {.path = other / "link", .name = {}, .format = {}}}));
    ASSERT_NE(catalog_->Find("vm1"), nullptr);
    EXPECT_TRUE(catalog_->Find("vm1")->read_only()) << base;
  }
}

TEST_F(CatalogSnapshotTest, AnUnfinishedOverlayIsHiddenUnderAnySpellingOfItsDirectory) {
  TempDir other;
  ASSERT_EQ(::mkdir((other / "real").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("real", (other / "link").c_str()), 0);
  MakeQcow2("vm1.qcow2");
  MakeOverlay("next.qcow2", At("vm1.qcow2"));
  ASSERT_EQ(::rename(At("next.qcow2").c_str(), (other / "real/next.qcow2").c_str()), 0);
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  WriteTextFile(At(".chainfs/chain-vm1"),
                "version=1\nname=vm1\nactive=vm1.qcow2\nformat=qcow2\norigin=vm1.qcow2\nnext=" +
                    (other / "real/next.qcow2") + "\n");
  ASSERT_EQ(::chmod(At(".chainfs/chain-vm1").c_str(), 0600), 0);
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = other / "link", .name = {}, .format = {}}}));
  EXPECT_EQ(Shown(), (Names{"vm1"}));
  EXPECT_FALSE(catalog_->Find("vm1")->read_only());
}

TEST_F(CatalogSnapshotTest, ARecordThatIsNotTrustedBreaksItsChain) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  TakeSnapshot("vm1");
  catalog_.reset();
  ASSERT_EQ(::chmod(At(".chainfs/chain-vm1").c_str(), 0666), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(BrokenError("vm1").kind, ErrorKind::kPermission);
  EXPECT_TRUE(catalog_->Find("vm1.qcow2")->read_only());
  ASSERT_EQ(::chmod(At(".chainfs/chain-vm1").c_str(), 0600), 0);
  WriteTextFile(At(".chainfs/chain-vm1"), "garbage\n");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(BrokenError("vm1").kind, ErrorKind::kInvalidFormat);
}

TEST_F(CatalogSnapshotTest, AnImageSourceFollowsItsRecord) {
  MakeQcow2("disk.qcow2");
  const std::vector<SourceSpec> sources = {{.path = At("disk.qcow2"), .name = "web", .format = {}}};
  ASSERT_TRUE(Open(sources));
  TakeSnapshot("web");
  Fill(catalog_->Find("web"), 0, 512, 'w');
  EXPECT_EQ(Shown(), (Names{"web"}));
  catalog_.reset();
  ASSERT_TRUE(Open(sources));
  EXPECT_EQ(Peek(catalog_->Find("web"), 0, 1), "w");
  catalog_.reset();
  // Under another name it is the same chain.
  ASSERT_TRUE(Open({{.path = At("disk.qcow2"), .name = "db", .format = {}}}));
  EXPECT_EQ(Peek(catalog_->Find("db"), 0, 1), "w");
  TakeSnapshot("db");
  Fill(catalog_->Find("db"), 0, 512, 'd');
  catalog_.reset();
  ASSERT_TRUE(Open(sources));
  EXPECT_EQ(Peek(catalog_->Find("web"), 0, 1), "d");
  EXPECT_EQ(catalog_->Find("web")->chain()->depth(), 3u);
}

TEST_F(CatalogSnapshotTest, AnImageSourceWhoseFirstLayerIsGoneFollowsItsRecord) {
  MakeQcow2("disk.qcow2");
  ASSERT_TRUE(Open({{.path = At("disk.qcow2"), .name = {}, .format = {}}}));
  TakeSnapshot("disk");
  {
    const LayerPtr active = catalog_->Find("disk")->chain()->active;
    ASSERT_TRUE(active->image->writer()->SetBacking(std::nullopt));
    catalog_->DropLayersBetween(active, nullptr);
  }
  catalog_.reset();
  ASSERT_EQ(::unlink(At("disk.qcow2").c_str()), 0);
  ASSERT_TRUE(Open({{.path = At("disk.qcow2"), .name = {}, .format = {}}}));
  EXPECT_EQ(Shown(), (Names{"disk"}));
  EXPECT_FALSE(catalog_->Find("disk")->read_only());
}

TEST_F(CatalogSnapshotTest, TheFrozenLayerIsUnlockedForReadersAndTheNewOneIsNot) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_FALSE(RunCommand({"qemu-img", "info", At("vm1.qcow2")}).ok());
  TakeSnapshot("vm1");
  EXPECT_TRUE(RunCommand({"qemu-img", "info", At("vm1.qcow2")}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "resize", At("vm1.qcow2"), "2M"}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "info", At("vm1.1.qcow2")}).ok());
}

// ---- Crashes and failures, on a host in memory.

CatalogOptions OptionsFor(const std::shared_ptr<MemHost>& host) {
  CatalogOptions options;
  options.open_directory = [host](const std::string& path) -> Result<std::unique_ptr<Directory>> {
    if (path == "/mem") return host->OpenRoot();
    return Fail(ErrorKind::kNotFound, path + ": no such directory");
  };
  return options;
}

std::unique_ptr<Catalog> OpenMem(const std::shared_ptr<MemHost>& host) {
  auto opened = Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, OptionsFor(host));
  EXPECT_TRUE(opened) << opened.error().message;
  return opened ? *std::move(opened) : nullptr;
}

std::shared_ptr<MemHost> HostWithImage() {
  auto host = MemHost::Create();
  const auto root = host->OpenRoot();
  EXPECT_TRUE(CreateQcow2(*root, "vm1.qcow2", {.virtual_size = 1 << 20, .backing = {}}));
  return host;
}

void FillSector(Disk& disk, char with) {
  const std::string data(512, with);
  EXPECT_TRUE(disk.Write(GuestOffset(0), std::as_bytes(std::span(data))));
}

char FirstByte(Disk& disk) {
  char byte = '?';
  const auto read = disk.Read(GuestOffset(0), std::as_writable_bytes(std::span<char>(&byte, 1)));
  return read && *read == 1 ? byte : '?';
}

// CAT-4: whatever a power cut leaves, the disk has its flushed contents and can be written.
TEST(CatalogSnapshotCrashTest, ACrashAtAnyPointLeavesAWritableDiskWithItsContents) {
  auto host = HostWithImage();
  size_t second_durable_at = 0;
  {
    auto catalog = OpenMem(host);
    const DiskPtr disk = catalog->Find("vm1");
    FillSector(*disk, 'a');
    ASSERT_TRUE(disk->Flush());
    host->StartRecording();
    ASSERT_TRUE(catalog->Snapshot(disk, {}));
    host->Note("switched");
    FillSector(*disk, 'b');
    ASSERT_TRUE(disk->Flush());
    second_durable_at = host->Mark("flushed");
  }
  CrashEnumerator crash(host->StopRecording(),
                        {.random_subsets = 20, .pair_losses = 20, .max_states_per_point = 100});
  crash.ForEachState([&](const CrashState& state) {
    SCOPED_TRACE(state.Describe());
    auto after = state.MakeHost();
    for (int round = 0; round < 2 && !testing::Test::HasFailure(); ++round) {
      auto catalog = OpenMem(after);
      if (catalog == nullptr) break;
      const DiskPtr disk = catalog->Find("vm1");
      EXPECT_NE(disk, nullptr);
      if (disk == nullptr) break;
      const char byte = FirstByte(*disk);
      EXPECT_TRUE(byte == 'b' || (byte == 'a' && state.point <= second_durable_at)) << byte;
      EXPECT_FALSE(disk->read_only());
    }
    return !testing::Test::HasFailure();
  });
  std::printf("%llu crash states\n", static_cast<unsigned long long>(crash.visited()));
}

TEST(CatalogSnapshotCrashTest, AnUnusedOverlayOfAnInterruptedSnapshotIsRemoved) {
  auto host = HostWithImage();
  const auto root = host->OpenRoot();
  ASSERT_TRUE(CreateQcow2(*root, "vm1.1.qcow2",
                          {.virtual_size = 1 << 20,
                           .backing = BackingReference{.name = "vm1.qcow2", .format = "qcow2"}}));
  ASSERT_TRUE(root->MakeDirectory(".chainfs", 0700));
  auto store = root->OpenDirectory(".chainfs");
  ASSERT_TRUE((*store)->WriteFileAtomically(
      "chain-vm1",
      "version=1\nname=vm1\nactive=vm1.qcow2\nformat=qcow2\norigin=vm1.qcow2\nnext=vm1.1.qcow2\n"));
  auto catalog = OpenMem(host);
  EXPECT_EQ(catalog->Disks().size(), 1u);
  EXPECT_FALSE(catalog->Find("vm1")->read_only());
  EXPECT_FALSE(host->Exists("vm1.1.qcow2"));
  EXPECT_FALSE(host->Exists(".chainfs/chain-vm1"));
}

TEST(CatalogSnapshotCrashTest, AnOverlayThatSomebodyUsedIsKept) {
  auto host = HostWithImage();
  const auto root = host->OpenRoot();
  ASSERT_TRUE(CreateQcow2(*root, "vm1.1.qcow2",
                          {.virtual_size = 1 << 20,
                           .backing = BackingReference{.name = "vm1.qcow2", .format = "qcow2"}}));
  {
    auto catalog = OpenMem(host);
    FillSector(*catalog->Find("vm1.1"), 'u');
    ASSERT_TRUE(catalog->Close());
  }
  ASSERT_TRUE(root->MakeDirectory(".chainfs", 0700));
  auto store = root->OpenDirectory(".chainfs");
  ASSERT_TRUE((*store)->WriteFileAtomically(
      "chain-vm1",
      "version=1\nname=vm1\nactive=vm1.qcow2\nformat=qcow2\norigin=vm1.qcow2\nnext=vm1.1.qcow2\n"));
  auto catalog = OpenMem(host);
  EXPECT_TRUE(host->Exists("vm1.1.qcow2"));
  ASSERT_TRUE(catalog->Rescan());
  ASSERT_NE(catalog->Find("vm1.1"), nullptr);
  EXPECT_EQ(FirstByte(*catalog->Find("vm1.1")), 'u');
  EXPECT_TRUE(catalog->Find("vm1")->read_only());
}

// A failure at any call leaves the disk as it was, usable, and again after a restart.
TEST(CatalogSnapshotCrashTest, AFailureAtAnyPointLeavesTheDiskAsItWas) {
  bool succeeded = false;
  for (uint64_t skip = 0; skip < 200 && !succeeded; ++skip) {
    SCOPED_TRACE(skip);
    auto host = HostWithImage();
    {
      auto catalog = OpenMem(host);
      const DiskPtr disk = catalog->Find("vm1");
      FillSector(*disk, 'a');
      ASSERT_TRUE(disk->Flush());
      const size_t fault = host->AddFault({.matches = IsMutation, .skip = skip});
      succeeded = catalog->Snapshot(disk, {}).has_value() && host->FaultHits(fault) == 0;
      host->ClearFaults();
      EXPECT_EQ(FirstByte(*disk), 'a');
      if (!disk->read_only()) {
        FillSector(*disk, 'b');
        EXPECT_TRUE(disk->Flush());
      }
      (void)catalog->Close();
    }
    auto catalog = OpenMem(host);
    const DiskPtr disk = catalog->Find("vm1");
    ASSERT_NE(disk, nullptr);
    EXPECT_FALSE(disk->read_only());
    EXPECT_NE(FirstByte(*disk), '?');
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_TRUE(succeeded);
}

}  // namespace
}  // namespace chainfs
