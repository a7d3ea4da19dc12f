// SPDX-License-Identifier: Apache-2.0
//
// Names and the files that they lead to: what happens when somebody puts another file in the place
// of one, and how names are walked.
#include <sys/stat.h>

#include <filesystem>

#include "blocklayer/catalog/name_records.h"
#include "blocklayer/io/posix.h"
#include "tests/support/forwarding_directory.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

// A directory of the host in which somebody exchanges a file, just before it is opened.
class ExchangingDirectory final : public ForwardingDirectory {
 public:
  struct Exchange {
    std::string name;
    std::string contents;  // of the other file
    int skip = 0;          // so many openings find the file as it was made
  };
  ExchangingDirectory(std::unique_ptr<Directory> directory, Exchange& exchange)
      : ForwardingDirectory(std::move(directory)), exchange_(exchange) {}
  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override {
    const std::filesystem::path file = std::filesystem::path(path()) / name;
    if (name == exchange_.name && std::filesystem::exists(file) && exchange_.skip-- <= 0) {
      // A host that gives inode numbers away again gives the new file the old one's.
      std::filesystem::remove(file);
      WriteTextFile(file, exchange_.contents);
    }
    return ForwardingDirectory::Open(name, mode);
  }

 private:
  Exchange& exchange_;
};

class CatalogNamesTest : public CatalogTest {
 protected:
  void MakeDirectories(const Names& names) {
    for (const std::string& name : names) std::filesystem::create_directories(At(name));
  }
  void Link(const std::string& target, const std::string& name) {
    std::filesystem::create_symlink(target, At(name));
  }
  // An image that shows the letter at its beginning.
  void MakeMarked(const std::string& name, char letter) {
    MakeQcow2(name);
    Qemu({"qemu-io", "-f", "qcow2", "-c", "write -q -P " + std::to_string(int{letter}) + " 0 64k",
          At(name)});
  }
  std::string Shows(std::string_view name) const {
    const DiskPtr disk = catalog_->Find(name);
    return disk ? Peek(disk, 0, 1) : BrokenError(name).message;
  }
  static SourceSpec Source(std::string path) {
    return {.path = std::move(path), .name = {}, .format = {}};
  }
};

TEST_F(CatalogNamesTest, AnOverlayThatIsExchangedWhileItIsMadeIsRefused) {
  MakeQcow2("vm1.qcow2");
  MakeOverlay("other", "vm1.qcow2");
  Qemu({"qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 64k", At("other")});
  const std::string other = ReadTextFile(At("other"));
  // While it lies there, it is one more that is built on vm1.
  std::filesystem::remove(At("other"));
  for (int skip = 0; skip < 3; ++skip) {
    SCOPED_TRACE(skip);
    ExchangingDirectory::Exchange exchange{.name = "next.qcow2", .contents = other, .skip = skip};
    CatalogOptions options;
    options.open_directory = [&](const std::string& path) -> Result<std::unique_ptr<Directory>> {
      CHAINFS_ASSIGN(std::unique_ptr<Directory> directory, OpenPosixDirectory(path));
      return std::make_unique<ExchangingDirectory>(std::move(directory), exchange);
    };
    ASSERT_TRUE(OpenAll(options));
    const auto made = catalog_->Snapshot(catalog_->Find("vm1"), {.target = "next.qcow2"});
    EXPECT_FALSE(made);
    EXPECT_TRUE(std::filesystem::exists(At("next.qcow2"))) << "it is somebody's";
    EXPECT_EQ(Peek(catalog_->Find("vm1"), 0, 1), std::string(1, 0));
    exchange.name.clear();
    catalog_.reset();
    std::filesystem::remove(At("next.qcow2"));
    std::filesystem::remove_all(At(".chainfs"));
  }
}

TEST_F(CatalogNamesTest, ANameOnceShownStaysWhenAFileOfTheSameStemAppears) {
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), Names{"vm1"});
  EXPECT_FALSE(std::filesystem::exists(At(".chainfs"))) << "nothing to remember yet";
  WriteTextFile(At("vm1.img"), std::string(4096, 'x'));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img"}));
  for (const bool read_only : {false, true}) {
    SCOPED_TRACE(read_only);
    ASSERT_TRUE(OpenAll({.read_only = read_only}));
    EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img"}));
    EXPECT_EQ(catalog_->Find("vm1")->chain()->active->name, "vm1.qcow2");
  }
  // It stays with the chain, whatever a snapshot makes active, and is no new disk's.
  ASSERT_TRUE(OpenAll());
  ASSERT_TRUE(catalog_->Snapshot(catalog_->Find("vm1"), {}));
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(catalog_->Find("vm1")->chain()->active->name, "vm1.1.qcow2");
  EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img", "vm1.qcow2"}));
}

TEST_F(CatalogNamesTest, ANameOnceShownStaysWhenTheFileAppearsWhileNothingIsMounted) {
  const TempDir state;
  const CatalogOptions options = {.state_directory = state / "chainfs"};
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll(options));
  EXPECT_EQ(Shown(), Names{"vm1"});
  catalog_.reset();
  WriteTextFile(At("vm1.img"), std::string(4096, 'x'));
  for (const bool read_only : {true, false, false}) {
    SCOPED_TRACE(read_only);
    CatalogOptions now = options;
    now.read_only = read_only;
    ASSERT_TRUE(OpenAll(now));
    EXPECT_EQ(Shown(), (Names{"vm1", "vm1.img"}));
    EXPECT_EQ(catalog_->Find("vm1")->chain()->active->name, "vm1.qcow2");
    catalog_.reset();
  }
  EXPECT_FALSE(std::filesystem::exists(At(".chainfs"))) << "nothing is left beside the images";
  // Another image of that file name has no older right.
  std::filesystem::rename(At("vm1.qcow2"), At("vm2.qcow2"));
  MakeQcow2("vm1.qcow2");
  ASSERT_TRUE(OpenAll(options));
  EXPECT_EQ(Shown(), (Names{"vm1.img", "vm1.qcow2", "vm2"}));
  catalog_.reset();
  // What is damaged does not count.
  for (const auto& file : std::filesystem::directory_iterator(state / "chainfs")) {
    WriteTextFile(file.path(), "chainfs-names-1 " + dir_.path() + "\nx vm1.img\n");
  }
  ASSERT_TRUE(OpenAll(options));
  EXPECT_EQ(Shown(), (Names{"vm1.img", "vm1.qcow2", "vm2"}));
}

TEST_F(CatalogNamesTest, ANameRecordThatMakesNoSenseDoesNotCount) {
  MakeQcow2("vm1.qcow2");
  MakeQcow2("vm2.qcow2");
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  WriteTextFile(At(".chainfs/name-vm9"), "version=1\nname=vm9\nimage=gone.qcow2\n");
  WriteTextFile(At(".chainfs/name-a"), "version=1\nname=a/b\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-b"), "version=2\nname=b\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-c"), "version=1\nname=d\nimage=vm1.qcow2\n");
  WriteTextFile(At(".chainfs/name-e"), "version=1\nname=e\nimage=vm2.qcow2\n");
  ASSERT_EQ(::chmod(At(".chainfs/name-e").c_str(), 0666), 0);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"vm1", "vm2"}));
  EXPECT_TRUE(catalog_->Broken().empty());
}

TEST(NameRecordTest, ReadsWhatItWrites) {
  const NameRecord record = {.name = "a\\b", .image = "a\\b.qcow2"};
  EXPECT_EQ(ParseNameRecord(FormatNameRecord(record)), record);
  EXPECT_EQ(ParseNameRecord("version=1\nname=a\\\\b\nimage=a\\\\b.qcow2\n"), record) << "old text";
  EXPECT_FALSE(ParseNameRecord(""));
  EXPECT_FALSE(ParseNameRecord("version=1\nname=a\n"));
  EXPECT_FALSE(ParseNameRecord("version=1\nname=a\nimage=a.txt\n"));
}

// Above what a link leads to is not beside the link.
TEST_F(CatalogNamesTest, BackingNamesAreWalkedAsTheKernelWalksThem) {
  MakeDirectories({"data/imgs", "srv/here"});
  MakeMarked("data/base.qcow2", 'r');
  MakeMarked("srv/base.qcow2", 'o');
  Link("../data/imgs", "srv/link");
  Link(At("data/imgs"), "srv/here/far");
  // Reached through the link, and naming it.
  MakeOverlay("data/imgs/vm.qcow2", "../base.qcow2");
  MakeOverlay("srv/one.qcow2", "link/../base.qcow2");
  MakeOverlay("srv/two.qcow2", "here/far/../base.qcow2");
  MakeOverlay("srv/three.qcow2", At("srv/link/../base.qcow2"));
  MakeOverlay("srv/four.qcow2", "here/../base.qcow2");
  MakeOverlay("srv/five.qcow2", "here/none/../../base.qcow2");
  ASSERT_TRUE(Open({Source(At("srv/link")), Source(At("srv"))}, {.backing_dirs = {At("data")}}));
  for (const char* name : {"vm", "one", "two", "three"}) {
    EXPECT_EQ(Shows(name), "r") << name;
    EXPECT_EQ(catalog_->Find(name)->chain()->below->layers().front()->path, At("data/base.qcow2"));
  }
  EXPECT_EQ(Shows("four"), "o");
  EXPECT_EQ(BrokenError("five").kind, ErrorKind::kNotFound);
  EXPECT_TRUE(catalog_->Find("base")->read_only());
}

// The reason names where a name leads, which is what would have to be permitted.
TEST_F(CatalogNamesTest, NoNameLeadsOutOfTheRoots) {
  MakeDirectories({"in/sub", "out"});
  MakeMarked("out/base.qcow2", 'o');
  Link("../out", "in/link");
  Link("../out/base.qcow2", "in/file.qcow2");
  Link("/proc/self/cwd", "in/proc");
  MakeOverlay("in/one.qcow2", "link/base.qcow2");
  MakeOverlay("in/two.qcow2", "../out/base.qcow2");
  MakeOverlay("in/three.qcow2", "sub/../../out/base.qcow2");
  MakeOverlay("in/four.qcow2", At("in/link/base.qcow2"));
  for (const char* name : {"one", "two", "three", "four"}) {
    ASSERT_TRUE(Open({Source(At("in"))}));
    const Error error = BrokenError(name);
    EXPECT_EQ(error.kind, ErrorKind::kAccess) << name;
    EXPECT_NE(error.message.find("-o backing_dir=" + At("out")), std::string::npos)
        << error.message;
  }
  MakeOverlay("in/five.qcow2", "./file.qcow2");
  MakeOverlay("in/six.qcow2", "proc/base.qcow2");
  MakeOverlay("in/seven.qcow2", "link/none.qcow2");
  ASSERT_TRUE(Open({Source(At("in"))}));
  EXPECT_EQ(BrokenError("five").kind, ErrorKind::kAccess);
  EXPECT_EQ(BrokenError("six").kind, ErrorKind::kAccess) << BrokenError("six").message;
  EXPECT_EQ(BrokenError("seven").kind, ErrorKind::kNotFound) << BrokenError("seven").message;
  ASSERT_TRUE(Open({Source(At("in"))}, {.backing_dirs = {At("out")}}));
  for (const char* name : {"one", "two", "three", "four"}) EXPECT_EQ(Shows(name), "o") << name;
}

// The directory that is open counts, not another one that has got its path.
TEST_F(CatalogNamesTest, ADirectoryThatWasReplacedIsSeen) {
  MakeDirectories({"bases", "others"});
  MakeMarked("bases/a.qcow2", 'a');
  MakeMarked("others/a.qcow2", 'b');
  MakeOverlay("one.qcow2", "bases/a.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shows("one"), "a");
  ASSERT_EQ(::rename(At("bases").c_str(), At("old").c_str()), 0);
  ASSERT_EQ(::rename(At("others").c_str(), At("bases").c_str()), 0);
  MakeOverlay("two.qcow2", "bases/a.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shows("one"), "a") << "as it was opened";
  EXPECT_EQ(Shows("two"), "b");
}

// A tree whose names are relative can be moved as a whole, also after streams and snapshots.
TEST_F(CatalogNamesTest, NamesThatWereRelativeStayRelative) {
  MakeDirectories({"tree/over", "tree/mid", "tree/bases"});
  MakeMarked("tree/bases/a.qcow2", 'a');
  MakeOverlay("tree/mid/b.qcow2", "../bases/a.qcow2");
  MakeOverlay("tree/mid/c.qcow2", "./b.qcow2");
  MakeOverlay("tree/over/e.qcow2", "../mid/c.qcow2");
  MakeOverlay("tree/over/abs.qcow2", At("tree/mid/c.qcow2"));
  ASSERT_TRUE(Open({Source(At("tree")), Source(At("tree/over"))}));
  const auto reference = [&](const char* name, size_t from, size_t to) {
    const DiskPtr disk = catalog_->Find(name);
    const Layers layers = disk->chain()->AllLayers();
    const auto found = catalog_->ReferenceTo(*disk, *layers.at(from), *layers.at(to));
    return found ? found->name : found.error().message;
  };
  EXPECT_EQ(reference("e", 0, 1), "../mid/c.qcow2");
  EXPECT_EQ(reference("e", 0, 2), "../mid/b.qcow2");
  EXPECT_EQ(reference("e", 0, 3), "../bases/a.qcow2");
  EXPECT_EQ(reference("e", 1, 3), "../bases/a.qcow2");
  EXPECT_EQ(reference("abs", 0, 3), At("tree/bases/a.qcow2"));
  // Each level of a chain may lie elsewhere.
  ASSERT_TRUE(Open({Source(At("tree")), Source(At("tree/over/e.qcow2"))}));
  const auto made = catalog_->Snapshot(catalog_->Find("e"), {.target = "../f.qcow2"});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ((*made)->path, At("tree/f.qcow2"));
  EXPECT_EQ((*made)->image->backing()->name, "over/e.qcow2");
  ASSERT_TRUE(catalog_->Close());
  catalog_.reset();
  ASSERT_EQ(::rename(At("tree").c_str(), At("moved").c_str()), 0);
  EXPECT_TRUE(
      RunCommand({"qemu-io", "-r", "-f", "qcow2", "-c", "read -P 97 0 64k", At("moved/f.qcow2")})
          .ok());
}

// Two roots may be moved apart.
TEST_F(CatalogNamesTest, BetweenRootsNamesAreAbsolute) {
  MakeDirectories({"one", "two"});
  MakeMarked("one/a.qcow2", 'a');
  ASSERT_TRUE(Open({Source(At("one")), Source(At("two"))}));
  const auto made = catalog_->Snapshot(catalog_->Find("a"), {.target = "../two/b.qcow2"});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ((*made)->image->backing()->name, At("one/a.qcow2"));
}

TEST_F(CatalogNamesTest, TargetsAreWalkedAsTheKernelWalksThem) {
  MakeDirectories({"in/sub", "out/deep"});
  MakeMarked("in/a.qcow2", 'a');
  MakeMarked("in/b.qcow2", 'b');
  Link("../out/deep", "in/link");
  Link("sub", "in/near");
  ASSERT_TRUE(Open({Source(At("in"))}));
  for (const std::string target : {"link/x.qcow2", "link/../x.qcow2", "../in/link/x.qcow2"}) {
    const auto made = catalog_->Snapshot(catalog_->Find("a"), {.target = target});
    ASSERT_FALSE(made) << target;
    EXPECT_EQ(made.error().kind, ErrorKind::kAccess) << target;
  }
  auto anywhere =
      catalog_->Snapshot(catalog_->Find("a"), {.target = "link/../x.qcow2", .anywhere = true});
  ASSERT_TRUE(anywhere) << anywhere.error().message;
  EXPECT_EQ((*anywhere)->path, At("out/x.qcow2"));
  auto near = catalog_->Snapshot(catalog_->Find("b"), {.target = "near/../near/y.qcow2"});
  ASSERT_TRUE(near) << near.error().message;
  EXPECT_EQ((*near)->path, At("in/sub/y.qcow2"));
  *anywhere = *near = nullptr;
  ASSERT_TRUE(catalog_->Close());
  ASSERT_TRUE(Open({Source(At("in"))}));
  EXPECT_EQ(Shows("a"), "a");
  EXPECT_EQ(Shows("b"), "b");
  EXPECT_FALSE(catalog_->Find("b")->read_only());
}

}  // namespace
}  // namespace chainfs
