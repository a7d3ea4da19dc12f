// SPDX-License-Identifier: Apache-2.0
//
// chainctl layers and revert, and what a stream says about the layers that it has left out.
#include <fmt/core.h>

#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

class ChainctlLayersTest : public ChainctlMountTest {
 protected:
  static Json Layer(const Json& layers, const std::string& path) {
    for (const Json& layer : layers["layers"]) {
      if (layer["path"] == path) return layer;
    }
    return nullptr;
  }
};

TEST_F(ChainctlLayersTest, TellsWhoIsBuiltOnALayerDirectly) {
  for (const std::string& place : {daemon_->path(), dir_.path()}) {
    const Json layers = ChainctlJson({"layers", place});
    const Json base = Layer(layers, dir_ / "base.qcow2");
    ASSERT_TRUE(base.is_object()) << layers;
    EXPECT_EQ(base["built-on-by"].size(), 1u) << base;
    EXPECT_EQ(base["needed"], true);
    EXPECT_GT(base["actual-size"], 0);
  }
  const CommandResult text = Chainctl({"layers", daemon_->path()});
  EXPECT_EQ(text.exit_code, 0) << text.Describe();
  EXPECT_NE(text.out.find("mid.qcow2"), std::string::npos) << text.out;
}

// Not some disk above it, and never a long list.
TEST_F(ChainctlLayersTest, ListNamesTheDirectOverlaysOrTheirNumber) {
  EXPECT_NE(
      Chainctl({"list", daemon_->path()}).out.find("base: read-only: mid.qcow2 is built on it"),
      std::string::npos)
      << Chainctl({"list", daemon_->path()}).Describe();
  for (int i = 0; i < 4; ++i) {
    CreateQcow2(dir_ / fmt::format("more{}.qcow2", i), {.backing = "base.qcow2"});
  }
  EXPECT_TRUE(Eventually([&] {
    return Chainctl({"list", daemon_->path()})
               .out.find("base: read-only: 5 images are built on it") != std::string::npos;
  }));
}

TEST_F(ChainctlLayersTest, ListNamesWhoHasLockedAnImage) {
  CreateQcow2(dir_ / "held.qcow2", {.size = "1M"});
  Command qemu({"qemu-io", "-f", "qcow2", dir_ / "held.qcow2"});
  EXPECT_TRUE(Eventually([&] {
    return Chainctl({"list", daemon_->path()})
               .out.find(fmt::format("locked by another process ({} qemu-io); stop it",
                                     qemu.pid())) != std::string::npos;
  })) << Chainctl({"list", daemon_->path()}).Describe();
}

TEST_F(ChainctlLayersTest, ADirectoryThatNoMountShows) {
  const CommandResult result = Chainctl({"layers", outside_.path()});
  ExpectError(result, 6);
  EXPECT_NE(result.err.find("no mount"), std::string::npos) << result.err;
}

TEST_F(ChainctlLayersTest, AStreamSaysWhatNobodyNeedsAnyMore) {
  const CommandResult result = Chainctl({"stream", vm_, "--base", "base.qcow2"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("no image in view needs " + dir_ / "mid.qcow2"), std::string::npos)
      << result.out;
  EXPECT_EQ(result.out.find("needs " + dir_ / "base.qcow2"), std::string::npos) << result.out;
}

// Nothing is dropped because a script did not know that it would be.
TEST_F(ChainctlLayersTest, RevertAsksFirst) {
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  const CommandResult unasked = Chainctl({"revert", vm_, "vm.qcow2"});
  ExpectError(unasked, 2);
  EXPECT_NE(unasked.err.find("--yes"), std::string::npos) << unasked.err;
  ExpectError(Chainctl({"revert", vm_, "nothing.qcow2", "--yes"}), 1);
  ExpectError(Chainctl({"revert", vm_, LayersOf(vm_).front(), "--yes"}), 1);
  EXPECT_EQ(LayersOf(vm_).size(), 4u);
}

}  // namespace
}  // namespace chainfs
