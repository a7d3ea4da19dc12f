// SPDX-License-Identifier: Apache-2.0
//
// CAT-1 where names hide who is built on whom: a base is read-only as long as any header leads to
// it, whether that image can be shown or not.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

class Listener : public CatalogObserver {
 public:
  void DiskAdded(const DiskPtr&) override {}
  void DiskRemoved(const DiskPtr&) override {}
  void ChainChanged(const DiskPtr&) override {}
  void AccessChanged(const DiskPtr& disk) override {
    log.push_back((disk->read_only() ? "ro " : "rw ") + disk->name());
  }
  void DiskError(const Disk&, std::string_view, const Error&) override {}
  void ImageBroken(const BrokenImage&) override {}
  void Warned(const ImageNote& note) override { warnings.push_back(note.text); }

  std::vector<std::string> log;
  std::vector<std::string> warnings;
};

class CatalogFreezeTest : public CatalogTest {
 protected:
  bool ReadOnly(std::string_view name) const {
    const DiskPtr disk = catalog_->Find(name);
    EXPECT_NE(disk, nullptr) << name << ": " << BrokenError(name).message;
    return disk != nullptr && disk->read_only();
  }
  // What the header of `name` says is its backing format becomes unknown to everybody.
  void ForgetFormat(const std::string& name) {
    std::string bytes = ReadTextFile(At(name));
    const size_t at = bytes.find("\xe2\x79\x2a\xca");
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, 4, "\x12\x34\x56\x78");
    WriteTextFile(At(name), bytes);
  }
  TempDir other_;
};

TEST_F(CatalogFreezeTest, AnOverlayWithAnotherExtensionMakesItsBaseReadOnly) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("vm1.snap1", "vm1.qcow2");
  MakeOverlay("vm1.snap2", "vm1.snap1");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), Names{"vm1"}) << "it is not shown because of that";
  EXPECT_TRUE(catalog_->Broken().empty());
  EXPECT_TRUE(ReadOnly("vm1"));
  EXPECT_EQ(NoteOf("vm1"),
            "read-only: vm1.snap1 is built on it; give it the name vm1.snap1.qcow2 (or name it as "
            "a SOURCE) to show it as a disk\n");
  EXPECT_EQ(catalog_->DisksUsing(*catalog_->Find("vm1")->chain()->active),
            (Names{"vm1", "vm1.snap1"}));
  ASSERT_EQ(::unlink(At("vm1.snap2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(ReadOnly("vm1"));
  ASSERT_EQ(::unlink(At("vm1.snap1").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(ReadOnly("vm1"));
  EXPECT_EQ(NoteOf("vm1"), "");
}

TEST_F(CatalogFreezeTest, ItComesAndGoesLikeOneThatIsShown) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  Listener listener;
  catalog_->SetObserver(&listener);
  DiskPtr vm1 = catalog_->Find("vm1");
  std::optional<DiskAccess::Ticket> ticket = vm1->AdmitWriter();
  ASSERT_TRUE(ticket);
  MakeOverlay("vm1.snap1", "vm1.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(vm1->read_only());
  EXPECT_NE(NoteOf("vm1").find("vm1.snap1 is built on it, but it is open for writing"),
            std::string::npos)
      << NoteOf("vm1");
  Fill(vm1, 0, 512, 'x');
  ticket.reset();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(vm1->read_only());
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(listener.warnings.size(), 2u) << "one that it is coming, one that it is so";
  // The advice is followed.
  ASSERT_EQ(::rename(At("vm1.snap1").c_str(), At("vm1.snap1.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.snap1"}));
  EXPECT_EQ(NoteOf("vm1"), "read-only: vm1.snap1 is built on it\n");
  ASSERT_EQ(::unlink(At("vm1.snap1.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(vm1->read_only());
  EXPECT_EQ(listener.log, (Names{"ro vm1", "rw vm1"}));
  catalog_->SetObserver(nullptr);
}

TEST_F(CatalogFreezeTest, AHiddenOverlayBesideOneThatIsShownIsTold) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("clone.qcow2", "vm1.qcow2");
  MakeOverlay("vm1.snap1", At("vm1.qcow2"));
  MakeOverlay(".vm1.snap2.qcow2", "vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_TRUE(ReadOnly("vm1"));
  EXPECT_NE(NoteOf("vm1").find("read-only: clone is built on it\n"), std::string::npos);
  EXPECT_NE(
      NoteOf("vm1").find(".vm1.snap2.qcow2 (and 1 more such), which is not shown, is built on "
                         "it; give it the name vm1.snap2.qcow2 (or"),
      std::string::npos)
      << NoteOf("vm1");
  ASSERT_EQ(::unlink(At("clone.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(ReadOnly("vm1"));
}

// What is named as a source, or a layer of a chain that is shown, is no secret.
TEST_F(CatalogFreezeTest, WhatIsShownSomehowIsNotCalledHidden) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("vm1.snap1", "vm1.qcow2");
  MakeOverlay("top.qcow2", "vm1.snap1");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(NoteOf("vm1"), "read-only: top is built on it\n");
  ASSERT_EQ(::unlink(At("top.qcow2").c_str()), 0);
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = At("vm1.snap1"), .name = "snap", .format = ImageFormat::kQcow2}}));
  EXPECT_EQ(Shown(), (Names{"snap", "vm1"}));
  EXPECT_EQ(NoteOf("vm1"), "read-only: snap is built on it\n");
}

// An overlay that is called .img is shown raw, with a note; QEMU may know better.
TEST_F(CatalogFreezeTest, AnOverlayThatIsCalledRawCountsUnlessTheUserSaysSo) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("vm2.img", "vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm2"}));
  EXPECT_TRUE(ReadOnly("vm1"));
  EXPECT_NE(NoteOf("vm1").find("format=qcow2"), std::string::npos) << NoteOf("vm1");
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = At("vm2.img"), .name = {}, .format = ImageFormat::kRaw}}));
  EXPECT_FALSE(ReadOnly("vm1")) << NoteOf("vm1");
}

// Whatever the name is, and whether it is refused or not.
TEST_F(CatalogFreezeTest, ANameThatIsRefusedStillMakesTheBaseReadOnly) {
  ASSERT_EQ(::symlink(dir_.path().c_str(), (other_ / "back").c_str()), 0);
  ASSERT_EQ(::symlink(other_.path().c_str(), At("out").c_str()), 0);
  MakeQcow2("base.qcow2");
  ASSERT_EQ(::link(At("base.qcow2").c_str(), (other_ / "hard.qcow2").c_str()), 0);
  const std::string quoted =
      "json:{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", "
      "\"filename\": \"" +
      At("base.qcow2") + "\"}}";
  for (const std::string& name : {other_ / "back/base.qcow2", std::string("out/back/base.qcow2"),
                                  other_ / "hard.qcow2", "file:" + At("base.qcow2"), quoted}) {
    MakeOverlay("top.qcow2", name);
    ASSERT_TRUE(OpenAll());
    const bool refused = name.find(':') != std::string::npos || name == other_ / "hard.qcow2";
    EXPECT_EQ(catalog_->Find("top") == nullptr, refused) << name;
    EXPECT_TRUE(ReadOnly("base")) << name;
    EXPECT_EQ(NoteOf("base"), "read-only: top is built on it\n") << name;
    const Names users = catalog_->DisksUsing(*catalog_->Find("base")->chain()->active);
    EXPECT_EQ(users, (Names{"base", "top"})) << name;
    ASSERT_EQ(::unlink(At("top.qcow2").c_str()), 0);
    ASSERT_TRUE(catalog_->Rescan());
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_FALSE(ReadOnly("base")) << name;
  }
}

TEST_F(CatalogFreezeTest, AnOverlayThatDoesNotSayTheFormatCounts) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  ForgetFormat("top.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(BrokenError("top").kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(ReadOnly("base"));
}

TEST_F(CatalogFreezeTest, AChainThatIsTooDeepCountsToItsEnd) {
  ASSERT_EQ(::mkdir(At("sub").c_str(), 0700), 0);
  MakeQcow2("base.qcow2");
  MakeOverlay("sub/mid.qcow2", "../base.qcow2");
  MakeOverlay("top.qcow2", "sub/mid.qcow2");
  ASSERT_TRUE(OpenAll({.max_depth = 2}));
  EXPECT_EQ(BrokenError("top").kind, ErrorKind::kLoop);
  EXPECT_TRUE(ReadOnly("base"));
}

// The data of such an image lie in another file, which is a raw image by its name.
TEST_F(CatalogFreezeTest, AnExternalDataFileIsNotWritten) {
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=" + At("vm1.raw"),
        At("vm1.qcow2"), "1M"});
  ASSERT_TRUE(OpenAll());
  EXPECT_TRUE(ReadOnly("vm1.raw"));
  EXPECT_NE(NoteOf("vm1.raw").find("vm1.qcow2 is built on it"), std::string::npos);
}

// Hard links in two directories: each header's name is relative to its own directory.
TEST_F(CatalogFreezeTest, ASecondNameOfAnOverlayLeadsToABaseOfItsOwn) {
  MakeQcow2("base.qcow2");
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", other_ / "base.qcow2", "1M"});
  MakeOverlay("top.qcow2", "base.qcow2");
  ASSERT_EQ(::link(At("top.qcow2").c_str(), (other_ / "top.qcow2").c_str()), 0);
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = other_.path(), .name = {}, .format = {}}}));
  EXPECT_TRUE(ReadOnly("base.qcow2"));
  EXPECT_TRUE(ReadOnly("base.qcow2-2"));
}

TEST_F(CatalogFreezeTest, ABaseThatWasReplacedByRenameCountsTwice) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  MakeQcow2("new.qcow2");
  ASSERT_EQ(::mkdir(At("sub").c_str(), 0700), 0);
  ASSERT_TRUE(OpenAll());
  DiskPtr top = catalog_->Find("top");
  std::optional<DiskAccess::Ticket> ticket = top->AdmitWriter();
  ASSERT_TRUE(ticket);
  EXPECT_FALSE(ReadOnly("new"));
  ASSERT_EQ(::rename(At("base.qcow2").c_str(), At("old.qcow2").c_str()), 0);
  ASSERT_EQ(::rename(At("new.qcow2").c_str(), At("base.qcow2").c_str()), 0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_TRUE(ReadOnly("old")) << "the one in use";
    EXPECT_TRUE(ReadOnly("base")) << "the one that the header names now";
  }
  ticket.reset();
}

TEST_F(CatalogFreezeTest, HostileFilesFreezeNothingElseAndHarmNobody) {
  MakeQcow2("vm1.qcow2");
  ASSERT_EQ(::mkfifo(At("fifo").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(At("fifo2.snap").c_str(), 0600), 0);
  MakeOverlay("self", "self");
  MakeOverlay("ring1", "ring2");
  MakeOverlay("ring2", "ring1");
  MakeOverlay("to_fifo", "fifo");
  MakeOverlay("to_directory", ".");
  MakeOverlay("to_proc", "/proc/self/fd/0");
  MakeOverlay("to_mem", "/proc/self/mem");
  MakeOverlay("to_device", "/dev/zero");
  MakeOverlay("long", std::string(1000, 'a'));
  MakeOverlay("deep", std::string("./") + std::string(900, '/') + "nothing");
  // A header that claims a name of 4 GiB, and one that ends in its middle.
  std::string bytes = ReadTextFile(At("self"));
  for (size_t i = 8; i < 20; ++i) bytes[i] = '\xff';
  WriteTextFile(At("huge"), bytes);
  WriteTextFile(At("cut"), bytes.substr(0, 80));
  ASSERT_EQ(::symlink("/etc/passwd", At("away").c_str()), 0);
  ASSERT_EQ(::symlink("vm1.qcow2", At("link").c_str()), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), Names{"vm1"});
  EXPECT_FALSE(ReadOnly("vm1")) << NoteOf("vm1");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(ReadOnly("vm1")) << NoteOf("vm1");
}

// A file that turns into an overlay while it keeps its name and size.
TEST_F(CatalogFreezeTest, AFileThatChangedIsLookedAtAgain) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("snap", "vm1.qcow2");
  const std::string overlay = ReadTextFile(At("snap"));
  WriteTextFile(At("snap"), std::string(overlay.size(), 'x'));
  ASSERT_TRUE(OpenAll());
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(ReadOnly("vm1"));
    WriteTextFile(At("snap"), overlay);
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_TRUE(ReadOnly("vm1"));
    WriteTextFile(At("snap"), std::string(overlay.size(), 'x'));
    ASSERT_TRUE(catalog_->Rescan());
  }
}

// It would become the base of that overlay.
TEST_F(CatalogFreezeTest, ASnapshotDoesNotTakeANameThatAHiddenOverlayNames) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("lost.snap", "next.qcow2");
  ASSERT_TRUE(OpenAll());
  const auto made = catalog_->Snapshot(catalog_->Find("vm1"), {.target = "next.qcow2"});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kExists);
  EXPECT_NE(made.error().message.find("lost.snap"), std::string::npos) << made.error().message;
  EXPECT_TRUE(catalog_->Snapshot(catalog_->Find("vm1"), {.target = "other.qcow2"}));
}

// A read-only mount writes nothing anyway.
TEST_F(CatalogFreezeTest, AReadOnlyMountLooksAtNoOtherFile) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("vm1.snap1", "vm1.qcow2");
  ASSERT_TRUE(OpenAll({.read_only = true}));
  EXPECT_EQ(NoteOf("vm1"), "");
}

}  // namespace
}  // namespace chainfs
