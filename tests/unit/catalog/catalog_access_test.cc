// SPDX-License-Identifier: Apache-2.0
//
// Which files of a chain are open for writing: the active layer of a disk that can be written, and
// what a job fills; everything else only from when it becomes one of those.
#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "blocklayer/formats/qcow2/create.h"
#include "tests/support/descriptors.h"
#include "tests/support/mem_host.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Modes = std::vector<int>;

class CatalogAccessTest : public CatalogTest {
 protected:
  // base <- mid <- vm, with a byte of the base's.
  void MakeThree() {
    MakeQcow2("base.qcow2");
    Qemu({"qemu-io", "-f", "qcow2", "-c", "write -P 98 0 64k", At("base.qcow2")});
    MakeOverlay("mid.qcow2", "base.qcow2");
    MakeOverlay("vm.qcow2", "mid.qcow2");
  }
  Modes Of(const std::string& name) const { return AccessModesOf(At(name)); }
  static LayerPtr LayerOf(const DiskPtr& disk, size_t depth) {
    return disk->chain()->AllLayers().at(depth);
  }
};

TEST_F(CatalogAccessTest, OnlyTheActiveLayerIsOpenForWriting) {
  MakeThree();
  MakeRaw("r.raw");
  MakeOverlay("onraw.qcow2", "r.raw", "raw");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Of("base.qcow2"), Modes{O_RDONLY});
  EXPECT_EQ(Of("mid.qcow2"), Modes{O_RDONLY});
  EXPECT_EQ(Of("vm.qcow2"), Modes{O_RDWR});
  EXPECT_EQ(Of("r.raw"), Modes{O_RDONLY});
  EXPECT_EQ(Of("onraw.qcow2"), Modes{O_RDWR});
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Of("base.qcow2"), Modes{O_RDONLY}) << "nor does a scan open it";
  EXPECT_TRUE(catalog_->Find("base")->read_only());
  EXPECT_NE(NoteOf("base").find("is built on it"), std::string::npos);
  CatalogOptions read_only;
  read_only.read_only = true;
  ASSERT_TRUE(OpenAll(std::move(read_only)));
  EXPECT_EQ(Of("vm.qcow2"), Modes{O_RDONLY});
}

TEST_F(CatalogAccessTest, ALayerThatNothingIsBuiltOnAnyMoreIsOpenedForWriting) {
  MakeThree();
  ASSERT_TRUE(OpenAll());
  const DiskPtr mid = catalog_->Find("mid");
  std::filesystem::remove(At("vm.qcow2"));
  RescanTwice();
  ASSERT_EQ(catalog_->Find("mid"), mid) << "the same disk, not a new one";
  EXPECT_FALSE(mid->read_only()) << NoteOf("mid");
  EXPECT_EQ(Of("mid.qcow2"), Modes{O_RDWR});
  EXPECT_EQ(Of("base.qcow2"), Modes{O_RDONLY});
  Fill(mid, 4096, 4096, 'm');
  EXPECT_EQ(Peek(mid, 4095, 2), "bm");
  ASSERT_TRUE(catalog_->Close());
  catalog_.reset();
  Qemu({"qemu-img", "check", "-q", At("mid.qcow2")});
  Qemu({"qemu-io", "-r", "-f", "qcow2", "-c", "read -P 109 4096 4096", At("mid.qcow2")});
}

TEST_F(CatalogAccessTest, ARawLayerTurnsWritableToo) {
  MakeRaw("r.raw");
  MakeOverlay("onraw.qcow2", "r.raw", "raw");
  ASSERT_TRUE(OpenAll());
  const DiskPtr raw = catalog_->Find("r");
  std::filesystem::remove(At("onraw.qcow2"));
  RescanTwice();
  EXPECT_FALSE(raw->read_only()) << NoteOf("r");
  Fill(raw, 0, 512, 'w');
  EXPECT_EQ(Peek(raw, 511, 2), "wr");
}

TEST_F(CatalogAccessTest, AJobMayFillALayerThatWasOpenedForReading) {
  MakeThree();
  ASSERT_TRUE(OpenAll());
  const DiskPtr vm = catalog_->Find("vm");
  const LayerPtr mid = LayerOf(vm, 1);
  EXPECT_FALSE(mid->image->writable());
  std::optional<Result<LayerLease>> lease = catalog_->leases().Take(mid);
  ASSERT_TRUE(*lease);
  EXPECT_EQ(Of("mid.qcow2"), Modes{O_RDWR});
  EXPECT_EQ(Of("base.qcow2"), Modes{O_RDONLY});
  const std::string data(65536, 'b');
  ASSERT_TRUE(mid->image->writer()->Populate(GuestOffset(0), std::as_bytes(std::span(data))));
  ASSERT_TRUE(mid->image->writer()->Flush());
  ASSERT_TRUE(mid->image->writer()->SetBacking(std::nullopt));
  // Somebody else may not even read it meanwhile.
  EXPECT_FALSE(RunCommand({"qemu-img", "check", At("mid.qcow2")}).ok());
  lease.reset();
  EXPECT_EQ(Peek(vm, 0, 2), "bb");
  Qemu({"qemu-img", "check", "-q", At("mid.qcow2")});
}

TEST_F(CatalogAccessTest, AFrozenLayerOfASnapshotIsOpenedForReadingByTheNextMount) {
  MakeQcow2("vm.qcow2");
  ASSERT_TRUE(OpenAll());
  ASSERT_TRUE(catalog_->Snapshot(catalog_->Find("vm"), {}));
  EXPECT_EQ(Of("vm.qcow2"), Modes{O_RDWR}) << "it stays as it is";
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Of("vm.qcow2"), Modes{O_RDONLY});
  EXPECT_EQ(Of("vm.1.qcow2"), Modes{O_RDWR});
}

TEST_F(CatalogAccessTest, AnotherReaderOfTheBaseKeepsItReadOnlyUntilHeHasGone) {
  MakeThree();
  ASSERT_TRUE(OpenAll());
  Command reader({"qemu-io", "-r", "-f", "qcow2", At("mid.qcow2")});
  ASSERT_TRUE(reader.Write("length\n"));
  ASSERT_TRUE(reader.WaitForOutput("1 MiB"));
  std::filesystem::remove(At("vm.qcow2"));
  RescanTwice();
  EXPECT_TRUE(catalog_->Find("mid")->read_only());
  EXPECT_NE(NoteOf("mid").find("locked by another process"), std::string::npos) << NoteOf("mid");
  ASSERT_TRUE(reader.Write("quit\n"));
  reader.Wait();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(catalog_->Find("mid")->read_only()) << NoteOf("mid");
}

// A host in memory, to have it refuse.
class RefusedAccessTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto root = host_->OpenRoot();
    ASSERT_TRUE(CreateQcow2(*root, "base.qcow2", Options("")));
    ASSERT_TRUE(CreateQcow2(*root, "mid.qcow2", Options("base.qcow2")));
    ASSERT_TRUE(CreateQcow2(*root, "vm.qcow2", Options("mid.qcow2")));
    CatalogOptions options;
    options.open_directory = [this](const std::string&) -> Result<std::unique_ptr<Directory>> {
      return host_->OpenRoot();
    };
    catalog_ = Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, options).value();
  }
  static Qcow2CreateOptions Options(const std::string& backing) {
    Qcow2CreateOptions options{.virtual_size = 1 << 20};
    if (!backing.empty()) options.backing = BackingReference{.name = backing, .format = "qcow2"};
    return options;
  }
  std::string NoteOf(const std::string& name) const {
    for (const ImageNote& note : catalog_->Notes()) {
      if (note.name == name) return note.text;
    }
    return "";
  }
  // Opening it for writing fails from now on; nothing else opens it under a stream.
  void RefuseOpening(const std::string& name, int error) {
    host_->AddFault({.matches = On(HostOp::kOpen, name), .forever = true, .error = error});
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(RefusedAccessTest, AJobIsRefusedAndTheDiskGoesOn) {
  const DiskPtr vm = catalog_->Find("vm");
  const LayerPtr mid = vm->chain()->AllLayers().at(1);
  RefuseOpening("mid.qcow2", EROFS);
  const Result<LayerLease> refused = catalog_->leases().Take(mid);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kReadOnly);
  EXPECT_EQ(refused.error().message, "/mem/mid.qcow2 cannot be written (Read-only file system)");
  EXPECT_FALSE(vm->read_only());
  const std::string data(4096, 'v');
  ASSERT_TRUE(vm->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  // The medium was mounted again for writing.
  host_->ClearFaults();
  EXPECT_TRUE(catalog_->leases().Take(mid));
}

TEST_F(RefusedAccessTest, AFailureThatPassesIsNamed) {
  const LayerPtr mid = catalog_->Find("vm")->chain()->AllLayers().at(1);
  RefuseOpening("mid.qcow2", EMFILE);
  const Result<LayerLease> refused = catalog_->leases().Take(mid);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().sys_errno, EMFILE);
  EXPECT_FALSE(mid->image->writable());
  host_->ClearFaults();
  EXPECT_TRUE(catalog_->leases().Take(mid));
  EXPECT_TRUE(mid->image->writable());
}

TEST_F(RefusedAccessTest, ADiskThatAnErrorMadeReadOnlySaysSoAtOnce) {
  const DiskPtr vm = catalog_->Find("vm");
  EXPECT_EQ(vm->ReadOnlyReason(), "");
  EXPECT_EQ(NoteOf("vm"), "");
  const std::string data(4096, 'v');
  ASSERT_TRUE(vm->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  host_->AddFault({.matches = On(HostOp::kDataSync, "vm.qcow2"), .error = EIO});
  EXPECT_FALSE(vm->Flush());
  EXPECT_TRUE(vm->read_only());
  // Without a scan.
  EXPECT_EQ(NoteOf("vm"), "read-only: an earlier flush failed; unmount, check it and mount again");
  const Status refused = vm->Write(GuestOffset(0), std::as_bytes(std::span(data)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "vm is read-only: an earlier flush failed; unmount, check it and mount again");
  // A snapshot is refused with the same words.
  EXPECT_EQ(catalog_->Snapshot(vm, {}).error().message, refused.error().message);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(NoteOf("vm"), "read-only: an earlier flush failed; unmount, check it and mount again");
}

TEST_F(RefusedAccessTest, ADiskThatIsBuiltOnSaysWhatToDoInstead) {
  const DiskPtr mid = catalog_->Find("mid");
  EXPECT_EQ(mid->ReadOnlyReason(), "vm is built on it");
  const std::string data(4096, 'v');
  EXPECT_EQ(mid->Write(GuestOffset(0), std::as_bytes(std::span(data))).error().message,
            "mid is read-only: vm is built on it; to write, create an overlay of it and use that");
}

TEST_F(RefusedAccessTest, ADiskThatHasGoneSaysSoToWhoeverHasItOpen) {
  const DiskPtr vm = catalog_->Find("vm");
  ASSERT_TRUE(host_->OpenRoot()->Remove("vm.qcow2"));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("vm"), nullptr);
  EXPECT_EQ(vm->ReadOnlyReason(), "its image was renamed, removed or replaced");
}

TEST_F(RefusedAccessTest, ALayerThatCannotBeWrittenSaysSoUntilItCan) {
  const DiskPtr mid = catalog_->Find("mid");
  ASSERT_TRUE(host_->OpenRoot()->Remove("vm.qcow2"));
  // Scans look at it, so only its opening for writing is to fail.
  host_->SetHook([](const HostCall& call) {
    return call.op == HostOp::kOpen && call.name == "mid.qcow2" && call.length == 1 ? EACCES : 0;
  });
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(mid->read_only());
  EXPECT_EQ(NoteOf("mid"), "read-only: /mem/mid.qcow2 cannot be written (Permission denied)");
  host_->SetHook({});
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(mid->read_only()) << NoteOf("mid");
  EXPECT_EQ(catalog_->Find("mid"), mid);
}

}  // namespace
}  // namespace chainfs
