// SPDX-License-Identifier: Apache-2.0
//
// From a name to open layers: paths and roots, the look at a header, walks that end early, and one
// layer for one file.
#include "blocklayer/catalog/chain_opener.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

TEST(PathTest, PathsAreTakenApartAndPutTogether) {
  EXPECT_EQ(DirectoryOf("/a/b"), "/a");
  EXPECT_EQ(DirectoryOf("/a"), "/");
  EXPECT_EQ(FileNameOf("/a/b"), "b");
  EXPECT_EQ(JoinPath("/", "a"), "/a");
  EXPECT_EQ(JoinPath("/a", "b/c"), "/a/b/c");
}

class ChainOpenerTest : public testing::Test {
 protected:
  ChainOpenerTest()
      : roots_(nullptr),
        context_(std::make_shared<BlockContext>(MemoryLimits())),
        pool_(context_, false),
        opener_(roots_, pool_, {.assume_backing_format = {}, .max_depth = 8}) {
    EXPECT_TRUE(roots_.Add(dir_.path(), RootUse::kRead));
  }
  static void Run(const std::vector<std::string>& arguments) {
    const CommandResult result = RunCommand(arguments);
    ASSERT_TRUE(result.ok()) << result.Describe();
  }
  void Create(const std::string& name, const std::string& backing = {},
              const std::string& options = {}) {
    std::vector<std::string> arguments = {"qemu-img", "create", "-q", "-u", "-f", "qcow2"};
    if (!backing.empty()) arguments.insert(arguments.end(), {"-b", backing, "-F", "qcow2"});
    if (!options.empty()) arguments.insert(arguments.end(), {"-o", options});
    arguments.insert(arguments.end(), {dir_ / name, "1M"});
    Run(arguments);
  }
  FileLocation At(const std::string& name) {
    const Result<FileLocation> location = roots_.Find(dir_ / name);
    EXPECT_TRUE(location);
    return location ? *location : FileLocation();
  }
  static LayerRole AllBacking(const FileId&) { return LayerRole::kBacking; }

  TempDir dir_;
  Roots roots_;
  std::shared_ptr<BlockContext> context_;
  LayerPool pool_;
  ChainOpener opener_;
};

TEST_F(ChainOpenerTest, TheDeepestRootThatContainsAPathServesIt) {
  ASSERT_EQ(::mkdir((dir_ / "sub").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir((dir_ / "sub/deep").c_str(), 0700), 0);
  ASSERT_TRUE(roots_.Add(dir_ / "sub", RootUse::kRead));
  const Result<FileLocation> location = roots_.Find(dir_ / "sub/deep/x");
  ASSERT_TRUE(location) << location.error().message;
  EXPECT_EQ(location->path, dir_ / "sub/deep/x");
  EXPECT_EQ(location->name, "x");
  EXPECT_EQ(location->directory->path(), dir_ / "sub/deep");
  EXPECT_EQ(roots_.Find(dir_ / "sub/deep/y")->directory, location->directory);
  EXPECT_EQ(roots_.Find(dir_ / "none/x").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(roots_.Find(dir_.path()).error().kind, ErrorKind::kAccess);
  EXPECT_EQ(roots_.Find(dir_.path() + "x/y").error().kind, ErrorKind::kAccess);
}

TEST_F(ChainOpenerTest, ExtraRootsCountOnlyWhenGiven) {
  TempDir other;
  const std::vector<std::string> extra = {other.path()};
  EXPECT_EQ(roots_.Find(other / "x").error().kind, ErrorKind::kAccess);
  EXPECT_TRUE(roots_.Find(other / "x", extra));
  EXPECT_FALSE(roots_.Contains(other / "x"));
  EXPECT_TRUE(roots_.Contains(dir_ / "x"));
}

TEST_F(ChainOpenerTest, ARootMayBeSpelledThroughALink) {
  TempDir outer;
  ASSERT_EQ(::symlink(dir_.path().c_str(), (outer / "link").c_str()), 0);
  Roots roots(nullptr);
  ASSERT_TRUE(roots.Add(outer / "link", RootUse::kRead));
  const Result<FileLocation> real = roots.Find(dir_ / "x");
  ASSERT_TRUE(real) << real.error().message;
  EXPECT_EQ(real->path, outer / "link/x") << "one file, one path";
}

TEST_F(ChainOpenerTest, BackingNamesAreRelativeToTheOverlay) {
  ASSERT_EQ(::mkdir((dir_ / "sub").c_str(), 0700), 0);
  const FileLocation overlay = At("sub/top.qcow2");
  EXPECT_EQ(roots_.Resolve(overlay, "base.qcow2")->path, dir_ / "sub/base.qcow2");
  EXPECT_EQ(roots_.Resolve(overlay, "../base.qcow2")->path, dir_ / "base.qcow2");
  EXPECT_EQ(roots_.Resolve(overlay, dir_ / "base.qcow2")->path, dir_ / "base.qcow2");
  EXPECT_EQ(roots_.Resolve(overlay, "./a:b")->path, dir_ / "sub/a:b");
  const TempDir outside;
  WriteTextFile(outside / "x", "");
  EXPECT_EQ(roots_.Resolve(overlay, outside / "x").error().kind, ErrorKind::kAccess);
  EXPECT_EQ(roots_.Resolve(overlay, "../../none/x").error().kind, ErrorKind::kNotFound);
  for (const std::string& bad : {std::string("json:{}"), std::string("json:/x"), std::string("a:b"),
                                 std::string(), std::string("a\0b", 3)}) {
    EXPECT_EQ(roots_.Resolve(overlay, bad).error().kind, ErrorKind::kInvalidArgument) << bad;
  }
}

// What the look says must be what the real opening says, or chains would be refused.
TEST_F(ChainOpenerTest, TheLookAtAHeaderAgreesWithTheOpening) {
  const char* options[] = {"",
                           "compat=0.10",
                           "cluster_size=512",
                           "cluster_size=2M",
                           "lazy_refcounts=on",
                           "compression_type=zstd"};
  for (const char* option : options) {
    for (const std::string& backing : {std::string(), std::string("b.qcow2"),
                                       std::string(300, 'd') + "/" + std::string(100, 'f')}) {
      SCOPED_TRACE(option + std::string(" on ") + backing);
      if (backing.size() > 300 && option == std::string("cluster_size=512")) continue;  // no room
      Create("x.qcow2", backing, option);
      const FileLocation location = At("x.qcow2");
      auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
      ASSERT_TRUE(file);
      const Result<HeaderPeek> peek =
          FormatRegistry::BuiltIn().Find(ImageFormat::kQcow2)->peek(**file);
      ASSERT_TRUE(peek);
      EXPECT_FALSE(peek->dirty);
      const auto image =
          OpenQcow2Image(*std::move(file), context_->metadata(), {.read_only = true, .owner = 999});
      ASSERT_TRUE(image) << image.error().message;
      EXPECT_EQ(peek->backing, (*image)->backing());
    }
  }
}

TEST_F(ChainOpenerTest, TheLookDoesNotJudge) {
  for (const std::string& bytes :
       {std::string(), std::string("QFI\xfb"), std::string(5000, '\xff'),
        "QFI\xfb" + std::string(5000, '\xff'), "QFI\xfb" + std::string(80, '\0')}) {
    WriteTextFile(dir_ / "x.qcow2", bytes);
    const FileLocation location = At("x.qcow2");
    const auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
    const Result<HeaderPeek> peek =
        FormatRegistry::BuiltIn().Find(ImageFormat::kQcow2)->peek(**file);
    ASSERT_TRUE(peek);
    EXPECT_FALSE(peek->backing);
  }
}

TEST_F(ChainOpenerTest, AWalkThatEndsEarlySaysHowFarItCame) {
  Create("mid.qcow2", "missing.qcow2");
  Create("top.qcow2", "mid.qcow2");
  const WalkedChain chain = opener_.Walk(At("top.qcow2"), ImageFormat::kQcow2);
  ASSERT_TRUE(chain.error);
  EXPECT_EQ(chain.error->kind, ErrorKind::kNotFound);
  EXPECT_NE(chain.error->message.find(dir_ / "mid.qcow2"), std::string::npos);
  EXPECT_NE(chain.error->message.find(dir_ / "missing.qcow2"), std::string::npos);
  EXPECT_EQ(chain.files.size(), 2u);
  EXPECT_FALSE(opener_.Open(chain, AllBacking));
}

TEST_F(ChainOpenerTest, OneFileIsOneLayerAndClosesWithItsLastChain) {
  Create("base.qcow2");
  Create("a.qcow2", "base.qcow2");
  Create("b.qcow2", dir_ / "base.qcow2");
  auto a = opener_.Open(opener_.Walk(At("a.qcow2"), ImageFormat::kQcow2), AllBacking);
  auto b = opener_.Open(opener_.Walk(At("b.qcow2"), ImageFormat::kQcow2), AllBacking);
  ASSERT_TRUE(a && b);
  EXPECT_EQ((*a)[1], (*b)[1]);
  const FileId id = (*a)[1]->id;
  a->clear();
  EXPECT_NE(pool_.Find(id), nullptr);
  b->clear();
  EXPECT_EQ(pool_.Find(id), nullptr);
}

TEST_F(ChainOpenerTest, RolesAreLocks) {
  Create("a.qcow2");
  const std::string path = dir_ / "a.qcow2";
  auto layers = opener_.Open(opener_.Walk(At("a.qcow2"), ImageFormat::kQcow2),
                             [](const FileId&) { return LayerRole::kActive; });
  ASSERT_TRUE(layers);
  const LayerPtr layer = layers->front();
  EXPECT_FALSE(RunCommand({"qemu-img", "info", path}).ok());
  ASSERT_TRUE(pool_.SetRole(layer, LayerRole::kBacking));
  EXPECT_TRUE(RunCommand({"qemu-img", "info", path}).ok());
  EXPECT_FALSE(RunCommand({"qemu-img", "resize", path, "2M"}).ok());
  ASSERT_TRUE(pool_.AddLease(layer, LeaseKind::kFill));
  ASSERT_TRUE(pool_.AddLease(layer, LeaseKind::kFill));
  EXPECT_FALSE(RunCommand({"qemu-img", "info", path}).ok());
  pool_.RemoveLease(layer, LeaseKind::kFill);
  EXPECT_FALSE(RunCommand({"qemu-img", "info", path}).ok());
  pool_.RemoveLease(layer, LeaseKind::kFill);
  EXPECT_TRUE(RunCommand({"qemu-img", "info", path}).ok());
}

TEST_F(ChainOpenerTest, AConflictKeepsTheLocksThatWereHeld) {
  Create("a.qcow2");
  auto layers = opener_.Open(opener_.Walk(At("a.qcow2"), ImageFormat::kQcow2), AllBacking);
  ASSERT_TRUE(layers);
  const LayerPtr layer = layers->front();
  const FileLocation location = At("a.qcow2");
  const auto other = location.directory->Open(location.name, OpenMode::kReadOnly);
  ASSERT_TRUE((*other)->SetImageLocks(kBackingLayerLocks));
  const Status raised = pool_.SetRole(layer, LayerRole::kActive);
  ASSERT_FALSE(raised);
  EXPECT_EQ(raised.error().kind, ErrorKind::kBusy);
  EXPECT_EQ(pool_.RoleOf(layer), LayerRole::kBacking);
  ASSERT_TRUE((*other)->SetImageLocks(kNoLocks));
  EXPECT_TRUE(pool_.SetRole(layer, LayerRole::kActive));
}

// CAT-6: a dirty image is repaired only by one who may write it.
TEST_F(ChainOpenerTest, ADirtyBackingFileIsReadAsItIs) {
  Create("a.qcow2", {}, "lazy_refcounts=on");
  std::string bytes = ReadTextFile(dir_ / "a.qcow2");
  bytes[79] = static_cast<char>(bytes[79] | 1);
  WriteTextFile(dir_ / "a.qcow2", bytes);
  const FileLocation location = At("a.qcow2");
  const auto layers = opener_.Open(opener_.Walk(location, ImageFormat::kQcow2), AllBacking);
  ASSERT_TRUE(layers) << layers.error().message;
  EXPECT_FALSE(layers->front()->image->writable());
  EXPECT_EQ(ReadTextFile(dir_ / "a.qcow2"), bytes);
  EXPECT_TRUE(RunCommand({"qemu-img", "info", dir_ / "a.qcow2"}).ok()) << "locks of a backing";
}

}  // namespace
}  // namespace chainfs
