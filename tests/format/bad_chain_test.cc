// SPDX-License-Identifier: Apache-2.0
//
// Bad chains and names (reliability rows C1 to C13): each is refused with its reason and listed,
// nothing hangs, nothing outside the permitted directories is opened, and a good image beside it
// works.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "blocklayer/catalog/name_rules.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class BadChainTest : public CatalogTest {
 protected:
  void SetUp() override { MakeQcow2("good.qcow2"); }
  // Opens the directory and expects `name` to be broken so, and the good one to work.
  void ExpectBroken(const std::string& name, ErrorKind kind, const std::string& says,
                    CatalogOptions options = {}) {
    const Status opened = OpenAll(std::move(options));
    ASSERT_TRUE(opened) << opened.error().message;
    const Error error = BrokenError(name);
    EXPECT_EQ(ErrorKindName(error.kind), ErrorKindName(kind)) << error.message;
    EXPECT_NE(error.message.find(says), std::string::npos) << error.message;
    EXPECT_TRUE(IsPlainText(error.message));
    EXPECT_EQ(catalog_->Find(name), nullptr);
    ASSERT_NE(catalog_->Find("good"), nullptr);
    Fill(catalog_->Find("good"), 0, 512, 'g');
  }
};

TEST_F(BadChainTest, C1AnImageThatIsItsOwnBacking) {
  ASSERT_EQ(::mkdir(At("sub").c_str(), 0700), 0);
  for (const std::string& backing : {std::string("self.qcow2"), std::string("./self.qcow2"),
                                     At("self.qcow2"), std::string("sub/../self.qcow2")}) {
    MakeOverlay("x", backing);
    ASSERT_EQ(::rename(At("x").c_str(), At("self.qcow2").c_str()), 0);
    ExpectBroken("self", ErrorKind::kLoop, "contains itself");
  }
}

TEST_F(BadChainTest, C1ALoopOfTwo) {
  MakeOverlay("a.qcow2", "b.qcow2");
  MakeOverlay("b.qcow2", "a.qcow2");
  ExpectBroken("a", ErrorKind::kLoop, "contains itself");
  EXPECT_EQ(BrokenError("b").kind, ErrorKind::kLoop);
}

TEST_F(BadChainTest, C1ALoopThroughASymbolicAndAHardLink) {
  MakeOverlay("a.qcow2", "soft");
  ASSERT_EQ(::symlink("a.qcow2", At("soft").c_str()), 0);
  MakeOverlay("b.qcow2", "hard");
  ASSERT_EQ(::link(At("b.qcow2").c_str(), At("hard").c_str()), 0);
  ExpectBroken("a", ErrorKind::kLoop, "contains itself");
  EXPECT_EQ(BrokenError("b").kind, ErrorKind::kLoop);
}

TEST_F(BadChainTest, C2AChainDeeperThanTheLimit) {
  MakeQcow2("l0.qcow2");
  for (int i = 1; i < 6; ++i) {
    MakeOverlay("l" + std::to_string(i) + ".qcow2", "l" + std::to_string(i - 1) + ".qcow2");
  }
  ExpectBroken("l5", ErrorKind::kLoop, "deeper than 5 layers", {.max_depth = 5});
  EXPECT_EQ(catalog_->Find("l4")->chain()->depth(), 5u);
  EXPECT_TRUE(catalog_->Find("l4")->read_only()) << "the chain that is too deep is built on it";
}

TEST_F(BadChainTest, C3ABackingFileOutside) {
  TempDir other;
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", other / "base.qcow2", "1M"});
  MakeOverlay("absolute.qcow2", other / "base.qcow2");
  MakeOverlay("climbing.qcow2", "../../../../../../etc/shadow", "raw");
  MakeOverlay("link.qcow2", "leads-out.qcow2");
  ASSERT_EQ(::symlink((other / "base.qcow2").c_str(), At("leads-out.qcow2").c_str()), 0);
  const int fd = ::open((other / "base.qcow2").c_str(), O_RDONLY | O_CLOEXEC);
  MakeOverlay("magic.qcow2", "/proc/self/fd/" + std::to_string(fd));
  ExpectBroken("absolute", ErrorKind::kAccess, "-o backing_dir=" + other.path());
  EXPECT_EQ(BrokenError("climbing").kind, ErrorKind::kAccess) << BrokenError("climbing").message;
  EXPECT_NE(BrokenError("climbing").message.find("/etc/shadow"), std::string::npos);
  EXPECT_EQ(BrokenError("link").kind, ErrorKind::kAccess) << BrokenError("link").message;
  EXPECT_EQ(BrokenError("leads-out").kind, ErrorKind::kAccess);
  EXPECT_EQ(BrokenError("magic").kind, ErrorKind::kAccess) << BrokenError("magic").message;
  ::close(fd);
}

// To permit all of the host is no advice, and least of all for a file that is not there.
TEST_F(BadChainTest, C3ABackingFileOutsideThatIsNotThere) {
  MakeOverlay("top.qcow2", "/no-such-file-of-this-name.qcow2");
  ExpectBroken("top", ErrorKind::kNotFound, "/no-such-file-of-this-name.qcow2: does not exist");
  EXPECT_EQ(BrokenError("top").message.find("backing_dir="), std::string::npos);
}

TEST_F(BadChainTest, C3ParentNamesAreFineBeneathARoot) {
  ASSERT_EQ(::mkdir(At("sub").c_str(), 0700), 0);
  MakeOverlay("sub/over.qcow2", "../good.qcow2");
  ASSERT_TRUE(Open({{.path = dir_.path()}, {.path = At("sub")}}));
  EXPECT_EQ(catalog_->Find("over")->chain()->depth(), 2u);
  EXPECT_TRUE(catalog_->Find("good")->read_only());
}

TEST_F(BadChainTest, C4NamesThatAreNotFileNames) {
  const char* names[] = {"json:{\"driver\":\"qcow2\",\"file\":{\"filename\":\"good.qcow2\"}}",
                         "nbd://localhost/x",
                         "http://localhost/x",
                         "file:good.qcow2",
                         "fd:0",
                         "blkdebug::good.qcow2",
                         "fat:rw:/tmp"};
  int number = 0;
  for (const char* name : names) MakeOverlay("n" + std::to_string(number++) + ".qcow2", name);
  ASSERT_TRUE(OpenAll());
  for (int i = 0; i < number; ++i) {
    const Error error = BrokenError("n" + std::to_string(i));
    EXPECT_EQ(error.kind, ErrorKind::kInvalidArgument) << names[i] << ": " << error.message;
    EXPECT_NE(error.message.find("only file names"), std::string::npos) << error.message;
  }
  EXPECT_FALSE(catalog_->Find("good")->read_only());
}

TEST_F(BadChainTest, C5FilesThatAreNoRegularFiles) {
  ASSERT_EQ(::mkfifo(At("fifo.qcow2").c_str(), 0600), 0);
  ASSERT_EQ(::mkdir(At("directory").c_str(), 0700), 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, At("socket.raw").c_str(), sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  MakeOverlay("a.qcow2", "fifo.qcow2");
  MakeOverlay("b.qcow2", "directory", "raw");
  MakeOverlay("c.qcow2", "/dev/zero", "raw");
  ExpectBroken("fifo", ErrorKind::kInvalidArgument, "not a regular file");
  EXPECT_EQ(BrokenError("socket").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(BrokenError("a").kind, ErrorKind::kInvalidArgument) << BrokenError("a").message;
  EXPECT_EQ(BrokenError("b").kind, ErrorKind::kInvalidArgument) << BrokenError("b").message;
  EXPECT_EQ(BrokenError("c").kind, ErrorKind::kAccess) << BrokenError("c").message;
  ASSERT_TRUE(OpenAll({.backing_dirs = {"/dev"}}));
  EXPECT_EQ(BrokenError("c").kind, ErrorKind::kInvalidArgument) << BrokenError("c").message;
  ::close(fd);
}

// Takes the backing format extension out of an image, as old tools left it out.
void DropBackingFormat(const std::string& path) {
  std::string bytes = ReadTextFile(path);
  const size_t at = bytes.find("\xe2\x79\x2a\xca");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = '\x11';  // an unknown extension, which is ignored
  WriteTextFile(path, bytes);
}

TEST_F(BadChainTest, C6NoBackingFormatIsNeverProbed) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  DropBackingFormat(At("top.qcow2"));
  ExpectBroken("top", ErrorKind::kInvalidArgument,
               "qemu-img rebase -u -F FORMAT -b base.qcow2 " + At("top.qcow2"));
  EXPECT_NE(BrokenError("top").message.find("assume_backing_format="), std::string::npos);
  ASSERT_TRUE(OpenAll({.assume_backing_format = ImageFormat::kQcow2}));
  EXPECT_EQ(catalog_->Find("top")->chain()->depth(), 2u);
}

TEST_F(BadChainTest, C7FormatsThatChainfsDoesNotKnow) {
  MakeQcow2("base.qcow2");
  for (const std::string& word : {std::string("qed!!"), std::string("luks."), std::string("QCOW2"),
                                  std::string("raw\0x", 5)}) {
    MakeOverlay("top.qcow2", "base.qcow2");
    std::string bytes = ReadTextFile(At("top.qcow2"));
    const size_t at = bytes.find("\xe2\x79\x2a\xca");
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at + 8, 5, word);
    WriteTextFile(At("top.qcow2"), bytes);
    ExpectBroken("top", ErrorKind::kUnsupported,
                 "chainfs knows qcow2, raw, vdi, vhdx, vmdk and vpc");
  }
}

TEST_F(BadChainTest, C8ARawImageThatBeginsLikeQcow2StaysRaw) {
  TempDir other;
  MakeOverlay("header", "/etc/shadow", "raw");
  const std::string header = ReadTextFile(At("header")).substr(0, 4096);
  MakeRaw("vm.img");
  {
    std::string bytes = ReadTextFile(At("vm.img"));
    WriteTextFile(At("vm.img"), bytes.replace(0, header.size(), header));
  }
  ASSERT_TRUE(OpenAll());
  DiskPtr vm = catalog_->Find("vm");
  ASSERT_NE(vm, nullptr);
  EXPECT_EQ(vm->size(), kSize);
  EXPECT_EQ(Peek(vm, 0, header.size()), header);
  EXPECT_NE(NoteOf("vm").find("vm.img is shown raw; it begins like qcow2"), std::string::npos);
  EXPECT_NE(NoteOf("vm").find("vm=" + At("vm.img") + ",format=qcow2"), std::string::npos);
  // A snapshot, and a restart, change nothing about it.
  ASSERT_TRUE(catalog_->Snapshot(vm, {}));
  EXPECT_EQ(Peek(vm, 0, header.size()), header);
  ASSERT_TRUE(catalog_->Close());
  vm.reset();
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Peek(catalog_->Find("vm"), 0, header.size()), header);
  EXPECT_EQ(catalog_->Find("vm")->chain()->AllLayers().back()->image->format(), ImageFormat::kRaw);
}

TEST_F(BadChainTest, C8OneFileIsNotRawAndQcow2AtOnce) {
  MakeQcow2("base.qcow2");
  MakeOverlay("raw-view.qcow2", "base.qcow2", "raw");
  ExpectBroken("raw-view", ErrorKind::kInvalidArgument, "both");
}

TEST_F(BadChainTest, C9BackingFilesOfOtherSizes) {
  WriteTextFile(At("short.raw"), std::string(4096, 's'));
  WriteTextFile(At("long.raw"), std::string(2 * kSize, 'l'));
  WriteTextFile(At("empty.raw"), "");
  for (const char* name : {"short", "long", "empty"}) {
    MakeOverlay(std::string("on-") + name + ".qcow2", std::string(name) + ".raw", "raw");
  }
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Peek(catalog_->Find("on-short"), 4095, 2), std::string("s\0", 2));
  EXPECT_EQ(Peek(catalog_->Find("on-long"), kSize - 1, 1), "l");
  EXPECT_EQ(catalog_->Find("on-long")->size(), kSize);
  EXPECT_EQ(Peek(catalog_->Find("on-empty"), 0, 1), std::string(1, '\0'));
}

TEST_F(BadChainTest, C9AReplacedBackingFileDoesNotChangeAnOpenChain) {
  MakeRaw("base.raw");
  MakeOverlay("top.qcow2", "base.raw", "raw");
  ASSERT_TRUE(OpenAll());
  WriteTextFile(At("new"), std::string(kSize, 'n'));
  ASSERT_EQ(::rename(At("new").c_str(), At("base.raw").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Peek(catalog_->Find("top"), 0, 1), "r");
  EXPECT_NE(NoteOf("top").find("base.raw was replaced"), std::string::npos) << NoteOf("top");
  EXPECT_EQ(Peek(catalog_->Find("base"), 0, 1), "n");
}

TEST_F(BadChainTest, C9AMissingBackingFileThatComesBack) {
  MakeOverlay("top.qcow2", "base.raw", "raw");
  ExpectBroken("top", ErrorKind::kNotFound, At("base.raw"));
  MakeRaw("base.raw");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Peek(catalog_->Find("top"), 0, 1), "r");
}

TEST_F(BadChainTest, C11TwoDaemonsMayShareABaseButNotATop) {
  MakeQcow2("base.qcow2");
  MakeOverlay("a.qcow2", "base.qcow2");
  MakeOverlay("b.qcow2", "base.qcow2");
  ASSERT_TRUE(Open({{.path = At("a.qcow2")}}));
  auto second = Catalog::Open({{.path = At("b.qcow2")}}, {});
  ASSERT_TRUE(second);
  EXPECT_NE((*second)->Find("b"), nullptr);
  EXPECT_FALSE((*second)->Find("b")->read_only());
  // Writing into the shared base is refused to both while the other uses it.
  const LayerPtr base = (*second)->Find("b")->chain()->below->layers().front();
  const Result<LayerLease> locked = (*second)->leases().Take(base);
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().kind, ErrorKind::kBusy);
  auto third = Catalog::Open({{.path = At("a.qcow2")}}, {});
  ASSERT_TRUE(third);
  ASSERT_EQ((*third)->Broken().size(), 1u);
  EXPECT_EQ((*third)->Broken().front().error.kind, ErrorKind::kBusy);
  // It comes as soon as the other one is gone.
  catalog_.reset();
  ASSERT_TRUE((*third)->Rescan());
  EXPECT_NE((*third)->Find("a"), nullptr);
}

TEST_F(BadChainTest, C12QemuAndChainfsRefuseEachOthersImages) {
  MakeQcow2("base.qcow2");
  MakeOverlay("top.qcow2", "base.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_FALSE(RunCommand({"qemu-img", "info", At("top.qcow2")}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "check", At("top.qcow2")}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "commit", At("top.qcow2")}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "resize", At("base.qcow2"), "2M"}).ok());
  EXPECT_TRUE(RunCommand({"qemu-img", "info", At("base.qcow2")}).ok()) << "only read";
  catalog_.reset();
  EXPECT_TRUE(RunCommand({"qemu-img", "check", At("top.qcow2")}).ok());

  Command qemu({"qemu-io", "-f", "qcow2", At("top.qcow2")});
  ASSERT_TRUE(qemu.Write("write 0 512\n"));
  ASSERT_TRUE(qemu.WaitForOutput("wrote 512"));
  ExpectBroken("top", ErrorKind::kBusy, "locked by another process");
  ASSERT_NE(catalog_->Find("base"), nullptr) << BrokenError("base").message;
  EXPECT_TRUE(catalog_->Find("base")->read_only()) << "QEMU's image is built on it";
  (void)qemu.Wait();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(catalog_->Find("top")->read_only());
}

TEST_F(BadChainTest, C13NamesThatWouldForgeALine) {
  MakeRaw("a\nERROR fake.raw");
  MakeRaw("b\xff.raw");
  MakeRaw("c\x1b[31m.raw");
  MakeRaw("d %n%s \"quoted\".raw");
  MakeOverlay("over.qcow2", "missing\nfile", "raw");
  ASSERT_TRUE(OpenAll());
  for (const char* name : {"a\\nERROR fake", "b\\xff", "c\\x1b[31m"}) {
    EXPECT_EQ(BrokenError(name).kind, ErrorKind::kInvalidArgument) << name;
  }
  for (const BrokenImage& image : catalog_->Broken()) {
    EXPECT_TRUE(IsPlainText(image.name + image.path + image.error.message));
  }
  EXPECT_NE(catalog_->Find("d %n%s \"quoted\""), nullptr);
  EXPECT_EQ(BrokenError("over").kind, ErrorKind::kNotFound) << BrokenError("over").message;
}

}  // namespace
}  // namespace chainfs
