// SPDX-License-Identifier: Apache-2.0
//
// The catalog with images of the real qemu-img: what is shown, what may be written, what comes and
// goes. Snapshots are in catalog_snapshot_test.cc, bad chains in tests/format/bad_chain_test.cc.
#include "blocklayer/catalog/catalog.h"
#include <filesystem>
#include <fstream>

#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "blocklayer/io/posix.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

class Recorder : public CatalogObserver {
 public:
  void DiskAdded(const DiskPtr& disk) override { log.push_back("+" + disk->name()); }
  void DiskRemoved(const DiskPtr& disk) override { log.push_back("-" + disk->name()); }
  void ChainChanged(const DiskPtr& disk) override { log.push_back("~" + disk->name()); }
  void AccessChanged(const DiskPtr& disk) override {
    log.push_back((disk->read_only() ? "ro " : "rw ") + disk->name());
  }
  void DiskError(const Disk& disk, std::string_view, const Error&) override {
    log.push_back("!" + disk.name());
  }
  void ImageBroken(const BrokenImage& image) override { log.push_back("?" + image.name); }

  std::vector<std::string> log;
};

TEST_F(CatalogTest, EveryImageOfADirectoryIsADisk) {
  MakeQcow2("a.qcow2");
  MakeRaw("b.raw");
  MakeRaw("c.img");
  MakeRaw(".hidden.raw");
  WriteTextFile(At("notes.txt"), "no image");
  ASSERT_EQ(::mkdir(At("d.qcow2").c_str(), 0700), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"a", "b", "c"}));
  EXPECT_TRUE(catalog_->Broken().empty());
  EXPECT_EQ(catalog_->Find("a")->size(), kSize);
  EXPECT_EQ(Peek(catalog_->Find("b"), 0, 4), "rrrr");
  EXPECT_EQ(catalog_->Find("d"), nullptr);
  EXPECT_NE(::access(At(".chainfs").c_str(), F_OK), 0) << "absent until needed";
}

TEST_F(CatalogTest, AnImageThatAnotherOneIsBuiltOnIsReadOnly) {
  MakeRaw("base.raw");
  MakeOverlay("mid.qcow2", "base.raw", "raw");
  MakeOverlay("top.qcow2", At("mid.qcow2"));
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"base", "mid", "top"}));
  EXPECT_TRUE(catalog_->Find("base")->read_only());
  EXPECT_TRUE(catalog_->Find("mid")->read_only());
  EXPECT_FALSE(catalog_->Find("top")->read_only());
  EXPECT_EQ(catalog_->Find("top")->chain()->depth(), 3u);
  EXPECT_NE(NoteOf("mid").find("top is built on it"), std::string::npos) << NoteOf("mid");
  Fill(catalog_->Find("top"), 4096, 512, 't');
  EXPECT_EQ(Peek(catalog_->Find("top"), 4095, 2), "rt");
  EXPECT_EQ(Peek(catalog_->Find("base"), 4096, 1), "r");
}

TEST_F(CatalogTest, LinkedClonesShareLayersAndOneIndex) {
  MakeQcow2("base.qcow2");
  MakeOverlay("a.qcow2", "base.qcow2");
  MakeOverlay("b.qcow2", "./base.qcow2");
  MakeOverlay("c.qcow2", At("base.qcow2"));
  ASSERT_TRUE(OpenAll());
  const ChainPtr a = catalog_->Find("a")->chain();
  for (const char* name : {"b", "c"}) {
    EXPECT_EQ(catalog_->Find(name)->chain()->below, a->below) << name;
  }
  EXPECT_EQ(catalog_->Find("base")->chain()->active, a->below->layers().front());
  EXPECT_EQ(catalog_->DisksUsing(*a->below->layers().front()), (Names{"a", "b", "base", "c"}));
  EXPECT_EQ(catalog_->DisksUsing(*a->active), (Names{"a"}));
}

TEST_F(CatalogTest, CollidingNamesAreFullNamesAndNamesInUseStay) {
  MakeQcow2("a.qcow2");
  MakeRaw("b.raw");
  MakeRaw("b.img");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"a", "b.img", "b.raw"}));
  MakeRaw("a.raw");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"a", "a.raw", "b.img", "b.raw"}));
}

TEST_F(CatalogTest, ImagesComeAndGoWithoutARestart) {
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(OpenAll());
  Recorder recorder;
  catalog_->SetObserver(&recorder);
  const DiskPtr a = catalog_->Find("a");
  MakeRaw("b.raw");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("a"), a) << "what did not change is not opened again";
  EXPECT_EQ(Shown(), (Names{"a", "b"}));
  ASSERT_EQ(::unlink(At("b.raw").c_str()), 0);
  const DiskPtr b = catalog_->Find("b");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"a"}));
  EXPECT_EQ(Peek(b, 0, 2), "rr") << "an open handle keeps working";
  // Another file under the name of the old one.
  MakeQcow2("new");
  ASSERT_EQ(::rename(At("new").c_str(), At("a.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("a"), a);
  EXPECT_EQ(recorder.log, (Names{"+b", "-b", "-a", "+a"}));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(recorder.log.size(), 4u) << "nothing changed";
}

TEST_F(CatalogTest, ReadOnlyFollowsTheOverlaysThatComeAndGo) {
  MakeQcow2("base.qcow2");
  ASSERT_TRUE(OpenAll());
  Recorder recorder;
  catalog_->SetObserver(&recorder);
  const DiskPtr base = catalog_->Find("base");
  EXPECT_FALSE(base->read_only());
  MakeOverlay("top.qcow2", "base.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(base->read_only());
  EXPECT_FALSE(catalog_->Find("top")->read_only());
  EXPECT_EQ(recorder.log, (Names{"ro base", "+top"}));
  // While somebody has the removed overlay open, its base must not change.
  DiskPtr top = catalog_->Find("top");
  ASSERT_EQ(::unlink(At("top.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(base->read_only());
  top.reset();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(base->read_only());
  Fill(base, 0, 512, 'x');
  EXPECT_EQ(recorder.log, (Names{"ro base", "+top", "-top", "rw base"}));
}

// CAT-2: a layer below a top never changes, so an image that is being written is no base yet.
TEST_F(CatalogTest, AnImageThatIsOpenForWritingTurnsReadOnlyOnlyWhenItIsClosed) {
  MakeQcow2("base.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr base = catalog_->Find("base");
  std::optional<DiskAccess::Ticket> ticket = base->AdmitWriter();
  ASSERT_TRUE(ticket);
  MakeOverlay("top.qcow2", "base.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(base->read_only());
  EXPECT_EQ(BrokenError("top").kind, ErrorKind::kBusy);
  EXPECT_NE(NoteOf("base").find("open for writing"), std::string::npos) << NoteOf("base");
  Fill(base, 0, 512, 'x');
  ticket.reset();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(base->read_only());
  ASSERT_NE(catalog_->Find("top"), nullptr) << BrokenError("top").message;
  EXPECT_EQ(Peek(catalog_->Find("top"), 0, 2), "xx");
}

TEST_F(CatalogTest, ARenamedImageThatIsStillWrittenWaits) {
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr a = catalog_->Find("a");
  std::optional<DiskAccess::Ticket> ticket = a->AdmitWriter();
  ASSERT_TRUE(ticket);
  ASSERT_EQ(::rename(At("a.qcow2").c_str(), At("b.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(BrokenError("b").kind, ErrorKind::kBusy) << BrokenError("b").message;
  Fill(a, 0, 512, 'a');
  ticket.reset();
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(catalog_->Find("b"), nullptr) << BrokenError("b").message;
  EXPECT_TRUE(a->read_only());
  EXPECT_EQ(Peek(catalog_->Find("b"), 0, 1), "a");
}

TEST_F(CatalogTest, OneFileUnderTwoNamesIsShownOnce) {
  MakeQcow2("a.qcow2");
  ASSERT_EQ(::link(At("a.qcow2").c_str(), At("b.qcow2").c_str()), 0);
  ASSERT_EQ(::symlink("a.qcow2", At("c.qcow2").c_str()), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"a"}));
  EXPECT_EQ(BrokenError("b").kind, ErrorKind::kExists);
  EXPECT_EQ(BrokenError("c").kind, ErrorKind::kExists);
}

// Two sources may be one directory, spelled differently: one store of records, one place for each.
TEST_F(CatalogTest, ADirectoryThatIsNamedTwiceIsOneDirectory) {
  TempDir other;
  MakeQcow2("vm1.qcow2");
  ASSERT_EQ(::symlink(dir_.path().c_str(), (other / "link").c_str()), 0);
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = other / "link", .name = {}, .format = {}},
                    {.path = other / "link/vm1.qcow2", .name = "web", .format = {}}}));
  EXPECT_EQ(Shown(), (Names{"web"}));
  EXPECT_TRUE(catalog_->Broken().empty());
  EXPECT_EQ(catalog_->WatchedDirectories().size(), 1u);
}

TEST_F(CatalogTest, AnImageSourceHasItsNameAndFormat) {
  MakeQcow2("disk.img");
  ASSERT_TRUE(Open({{.path = At("disk.img"), .name = "web", .format = ImageFormat::kQcow2}}));
  EXPECT_EQ(Shown(), (Names{"web"}));
  EXPECT_EQ(catalog_->Find("web")->size(), kSize);
  EXPECT_EQ(catalog_->WatchedDirectories(), (Names{dir_.path()}));
  EXPECT_TRUE(NoteOf("web").empty());
}

TEST_F(CatalogTest, TheUsersWordAboutAFileGoesBeforeTheDirectory) {
  MakeQcow2("disk.img");
  MakeRaw("other.raw");
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = At("disk.img"), .name = "web", .format = ImageFormat::kQcow2}}));
  EXPECT_EQ(Shown(), (Names{"other", "web"}));
  EXPECT_TRUE(catalog_->Broken().empty());
}

TEST_F(CatalogTest, SourcesThatCannotBeUsedAreErrors) {
  MakeQcow2("a.qcow2");
  MakeQcow2("b.qcow2");
  WriteTextFile(At("plain"), "x");
  EXPECT_FALSE(Open({}));
  const Status missing = Open({{.path = At("nothing.raw"), .name = {}, .format = {}}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
  const Status formatless = Open({{.path = At("plain"), .name = {}, .format = {}}});
  ASSERT_FALSE(formatless);
  EXPECT_NE(formatless.error().message.find("format="), std::string::npos);
  EXPECT_FALSE(Open({{.path = At("a.qcow2"), .name = "x", .format = {}},
                     {.path = At("b.qcow2"), .name = "x", .format = {}}}));
  EXPECT_FALSE(Open({{.path = At("a.qcow2"), .name = "x/y", .format = {}}}));
}

TEST_F(CatalogTest, BackingDirsArePermitted) {
  TempDir other;
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", other / "base.qcow2", "1M"});
  MakeOverlay("a.qcow2", other / "base.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(BrokenError("a").kind, ErrorKind::kAccess);
  EXPECT_NE(BrokenError("a").message.find("-o backing_dir=" + other.path()), std::string::npos);
  ASSERT_TRUE(OpenAll({.backing_dirs = {other.path()}}));
  EXPECT_EQ(Shown(), (Names{"a"})) << "images of a backing_dir are not shown";
}

TEST_F(CatalogTest, AReadOnlyMountWritesNothing) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  struct stat before = {};
  ASSERT_EQ(::stat(At("top.qcow2").c_str(), &before), 0);
  ASSERT_TRUE(OpenAll({.read_only = true}));
  const DiskPtr top = catalog_->Find("top");
  EXPECT_TRUE(top->read_only());
  EXPECT_FALSE(catalog_->Snapshot(top, {}));
  EXPECT_FALSE(catalog_->records().Write(*top, "job-x", "y"));
  EXPECT_FALSE(catalog_->leases().Take(top->chain()->active));
  ASSERT_TRUE(catalog_->Close());
  struct stat after = {};
  ASSERT_EQ(::stat(At("top.qcow2").c_str(), &after), 0);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_EQ(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
  EXPECT_NE(::access(At(".chainfs").c_str(), F_OK), 0);
}

TEST_F(CatalogTest, LayersAreFoundAsTheChainNamesThem) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr top = catalog_->Find("top");
  const LayerPtr base = top->chain()->below->layers().front();
  EXPECT_EQ(*catalog_->FindLayer(*top, "base.qcow2"), base);
  EXPECT_EQ(*catalog_->FindLayer(*top, At("base.qcow2")), base);
  EXPECT_EQ(catalog_->FindLayer(*top, "other").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(catalog_->FindLayer(*catalog_->Find("base"), "top.qcow2").error().kind,
            ErrorKind::kNotFound);
}

TEST_F(CatalogTest, ReferencesAreRelativeWithinADirectory) {
  ASSERT_EQ(::mkdir(At("sub").c_str(), 0700), 0);
  MakeQcow2("sub/deep.qcow2");
  MakeOverlay("a:b.qcow2", "sub/deep.qcow2");
  MakeOverlay("top.qcow2", "./a:b.qcow2");
  MakeOverlay("sub/side.qcow2", "../a:b.qcow2");
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = At("sub/side.qcow2"), .name = {}, .format = {}}}));
  const DiskPtr top = catalog_->Find("top");
  const Layers layers = top->chain()->AllLayers();
  ASSERT_EQ(layers.size(), 3u);
  EXPECT_EQ(catalog_->ReferenceTo(*top, *layers[0], *layers[1])->name, "./a:b.qcow2");
  EXPECT_EQ(catalog_->ReferenceTo(*top, *layers[0], *layers[2])->name, "sub/deep.qcow2");
  EXPECT_EQ(catalog_->ReferenceTo(*top, *layers[0], *layers[2])->format, "qcow2");
  const DiskPtr aside = catalog_->Find("side");
  const Layers side = aside->chain()->AllLayers();
  EXPECT_EQ(catalog_->ReferenceTo(*aside, *side[0], *side[1])->name, "../a:b.qcow2");
  EXPECT_EQ(catalog_->ReferenceTo(*aside, *side[0], *side[2])->name, "deep.qcow2");
}

// cp, scp and wget write a file in several steps and take no locks.
TEST_F(CatalogTest, AnImageThatSomebodyIsWritingWaits) {
  MakeQcow2("vm1.qcow2");
  {
    std::ofstream writer(At("vm1.qcow2"), std::ios::binary | std::ios::in | std::ios::out);
    ASSERT_TRUE(writer.is_open());
    ASSERT_TRUE(OpenAll());
    EXPECT_EQ(catalog_->Find("vm1"), nullptr);
    EXPECT_EQ(BrokenError("vm1").kind, ErrorKind::kBusy) << BrokenError("vm1").message;
  }
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("vm1"), nullptr) << BrokenError("vm1").message;
}

TEST_F(CatalogTest, AnImageThatGrewIsOpenedAnew) {
  MakeRaw("r.raw");
  ASSERT_TRUE(OpenAll());
  ASSERT_EQ(catalog_->Find("r")->size(), kSize);
  std::ofstream(At("r.raw"), std::ios::app) << std::string(kSize, 's');
  // The first look lets go of it, the second one finds it free.
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(catalog_->Find("r"), nullptr) << BrokenError("r").message;
  EXPECT_EQ(catalog_->Find("r")->size(), 2 * kSize);
  EXPECT_EQ(Peek(catalog_->Find("r"), kSize, 4), "ssss");
}

// A backup is copied over the image of an idle disk; the tables that are known are of before.
TEST_F(CatalogTest, AWriteAfterAnImageWasReplacedInPlaceDamagesNothing) {
  MakeQcow2("base.qcow2");
  MakeOverlay("vm1.qcow2", "base.qcow2");
  MakeQcow2(".backup");
  for (const char* name : {"base.qcow2", ".backup"}) {
    Qemu({"qemu-io", "-f", "qcow2", "-c",
          name[0] == '.' ? "write -q -P 98 0 1M" : "write -q -P 97 128k 64k", At(name)});
  }
  ASSERT_TRUE(OpenAll());
  DiskPtr vm1 = catalog_->Find("vm1");
  EXPECT_EQ(Peek(vm1, 131072, 4), "aaaa");
  std::filesystem::copy_file(At(".backup"), At("vm1.qcow2"),
                             std::filesystem::copy_options::overwrite_existing);
  const std::string data(512, 'x');
  EXPECT_EQ(vm1->Write(GuestOffset(0), std::as_bytes(std::span(data))).error().kind,
            ErrorKind::kIo);
  vm1.reset();
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(catalog_->Find("vm1"), nullptr) << BrokenError("vm1").message;
  Fill(catalog_->Find("vm1"), 0, 512, 'x');
  EXPECT_EQ(Peek(catalog_->Find("vm1"), 131072, 4), "bbbb");
  catalog_.reset();
  Qemu({"qemu-img", "check", "-q", "-f", "qcow2", At("vm1.qcow2")});
  Qemu({"qemu-io", "-f", "qcow2", "-c", "read -P 98 512 1048064", At("vm1.qcow2")});
}

// A base that changes takes those that are built on it along.
TEST_F(CatalogTest, AChainOverABaseThatChangedIsOpenedAnew) {
  MakeRaw("base.raw");
  MakeOverlay("vm1.qcow2", "base.raw", "raw");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 4), "rrrr");
  std::ofstream(At("base.raw"), std::ios::in | std::ios::out) << "new!";
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(catalog_->Find("vm1"), nullptr) << BrokenError("vm1").message;
  EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 4), "new!");
}

// Two chains name one file differently; each keeps its own spelling.
TEST_F(CatalogTest, AReferenceIsInTheWordsOfItsOwnChain) {
  ASSERT_EQ(::mkdir(At("real").c_str(), 0700), 0);
  MakeQcow2("real/base.qcow2");
  ASSERT_EQ(::symlink("real", At("link").c_str()), 0);
  MakeOverlay("mid1.qcow2", "real/base.qcow2");
  MakeOverlay("mid2.qcow2", "link/base.qcow2");
  MakeOverlay("one.qcow2", "mid1.qcow2");
  MakeOverlay("two.qcow2", "mid2.qcow2");
  ASSERT_TRUE(OpenAll());
  for (const auto& [name, expected] :
       {std::pair("one", "real/base.qcow2"), std::pair("two", "link/base.qcow2")}) {
    const DiskPtr disk = catalog_->Find(name);
    const Layers layers = disk->chain()->AllLayers();
    ASSERT_EQ(layers.size(), 3u);
    EXPECT_EQ(catalog_->ReferenceTo(*disk, *layers[0], *layers[2])->name, expected);
  }
}

// Another machine's image has taken the old name meanwhile: it must not get into the chain.
TEST_F(CatalogTest, AReferenceToAFileThatWasReplacedIsRefused) {
  MakeQcow2("base.qcow2");
  MakeOverlay("mid.qcow2", "base.qcow2");
  MakeOverlay("top.qcow2", "mid.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr top = catalog_->Find("top");
  const Layers layers = top->chain()->AllLayers();
  ASSERT_EQ(::rename(At("base.qcow2").c_str(), At("moved.qcow2").c_str()), 0);
  EXPECT_EQ(catalog_->ReferenceTo(*top, *layers[0], *layers[2]).error().kind, ErrorKind::kNotFound);
  MakeQcow2("base.qcow2");
  EXPECT_EQ(catalog_->ReferenceTo(*top, *layers[0], *layers[2]).error().kind, ErrorKind::kStale);
}

// The end of a stream: the layers between are let go, and become writable if nobody needs them.
TEST_F(CatalogTest, DroppedLayersThatNobodyIsBuiltOnAreWritableAgain) {
  MakeQcow2("base.qcow2");
  MakeOverlay("mid.qcow2", "base.qcow2");
  MakeOverlay("top.qcow2", "mid.qcow2");
  ASSERT_TRUE(OpenAll());
  Recorder recorder;
  catalog_->SetObserver(&recorder);
  const DiskPtr top = catalog_->Find("top");
  const Layers layers = top->chain()->AllLayers();
  {
    const Result<LayerLease> lease = catalog_->leases().Take(layers[0]);
    ASSERT_TRUE(lease);
    const BackingReference base = *catalog_->ReferenceTo(*top, *layers[0], *layers[2]);
    ASSERT_TRUE(layers[0]->image->writer()->SetBacking(base));
    catalog_->DropLayersBetween(layers[0], layers[2]);
  }
  EXPECT_EQ(top->chain()->depth(), 2u);
  EXPECT_EQ(top->chain()->generation, 1u);
  EXPECT_FALSE(catalog_->Find("mid")->read_only());
  EXPECT_TRUE(catalog_->Find("base")->read_only());
  EXPECT_EQ(recorder.log, (Names{"rw mid", "~top"}));
  // Onto nothing.
  ASSERT_TRUE(layers[0]->image->writer()->SetBacking(std::nullopt));
  catalog_->DropLayersBetween(layers[0], nullptr);
  EXPECT_EQ(top->chain()->depth(), 1u);
  EXPECT_TRUE(catalog_->Find("base")->read_only()) << "mid is built on it";
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("top"), top);
  ASSERT_TRUE(catalog_->Close());
  const CommandResult info = RunCommand({"qemu-img", "info", At("top.qcow2")});
  EXPECT_EQ(info.out.find("backing file"), std::string::npos) << info.out;
}

TEST_F(CatalogTest, RecordsOfJobsLieBesideTheImages) {
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr a = catalog_->Find("a");
  ASSERT_TRUE(catalog_->records().Write(*a, "job-1", "text"));
  const auto found = catalog_->records().ReadAll("job-");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().name, "job-1");
  EXPECT_EQ(ReadTextFile(At(".chainfs/job-1")), "text");
  ASSERT_TRUE(catalog_->records().Remove(*a, "job-1"));
  EXPECT_TRUE(catalog_->records().ReadAll("job-")->empty());
}

TEST_F(CatalogTest, ARecordOfAJobThatIsNotTrustedIsTold) {
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(OpenAll());
  ASSERT_TRUE(catalog_->records().Write(*catalog_->Find("a"), "job-1", "x"));
  ASSERT_TRUE(catalog_->records().Write(*catalog_->Find("a"), "job-2", "y"));
  ASSERT_EQ(::chmod(At(".chainfs/job-1").c_str(), 0666), 0);
  std::vector<Error> distrusted;
  const auto found = catalog_->records().ReadAll("job-", &distrusted);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().name, "job-2");
  ASSERT_EQ(distrusted.size(), 1u);
  EXPECT_NE(distrusted.front().message.find(At(".chainfs/job-1")), std::string::npos);
}

TEST_F(CatalogTest, AfterCloseTheImagesAreCleanAndTheCatalogRefuses) {
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(OpenAll());
  Fill(catalog_->Find("a"), 0, 65536, 'z');
  ASSERT_TRUE(catalog_->Close());
  EXPECT_EQ(catalog_->Rescan().error().kind, ErrorKind::kShutdown);
  catalog_.reset();
  const CommandResult check = RunCommand({"qemu-img", "check", At("a.qcow2")});
  EXPECT_TRUE(check.ok()) << check.Describe();
}

// `bytes` with every occurrence of one word replaced by another of its length.
std::string Replaced(std::string bytes, const std::string& word, const std::string& with) {
  for (size_t at = bytes.find(word); at != std::string::npos; at = bytes.find(word, at + 1)) {
    bytes.replace(at, word.size(), with);
  }
  return bytes;
}

TEST_F(CatalogTest, AThousandChainsOpenAtOnce) {
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  constexpr int kChains = 1000;
  MakeQcow2("b0000.qcow2");
  MakeOverlay("m0000.qcow2", "b0000.qcow2");
  MakeOverlay("t0000.qcow2", "m0000.qcow2");
  for (const std::string& kind : {std::string("b"), std::string("m"), std::string("t")}) {
    const std::string image = ReadTextFile(At(kind + "0000.qcow2"));
    for (int i = 1; i < kChains; ++i) {
      char number[8];
      std::snprintf(number, sizeof number, "%04d", i);
      const std::string name = number + std::string(".qcow2");
      WriteTextFile(At(kind + name), Replaced(image, "0000.qcow2", name));
    }
  }
  const auto started = std::chrono::steady_clock::now();
  ASSERT_TRUE(OpenAll());
  const auto opened = std::chrono::steady_clock::now();
  ASSERT_TRUE(catalog_->Rescan());
  const auto scanned = std::chrono::steady_clock::now();
  const auto ms = [](auto span) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
  };
  std::printf("%d chains of 3 layers: open %lld ms, rescan %lld ms\n", kChains,
              static_cast<long long>(ms(opened - started)),
              static_cast<long long>(ms(scanned - opened)));
  EXPECT_TRUE(catalog_->Broken().empty());
  EXPECT_EQ(Shown().size(), 3u * kChains);
  EXPECT_EQ(catalog_->Find("t0999")->chain()->depth(), 3u);
}

}  // namespace
}  // namespace chainfs
