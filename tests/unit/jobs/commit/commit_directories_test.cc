// SPDX-License-Identifier: Apache-2.0
//
// Commits in a chain whose layers lie in several directories and name each other relatively.
#include <filesystem>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

class CommitDirectoriesTest : public CommitFixture {
 protected:
  // deep/a <- mid/b <- c <- mid/d
  void SetUp() override {
    for (const char* const folder : {"deep", "mid"}) {
      std::filesystem::create_directory(At(folder));
    }
    Make("deep/a.qcow2", "", 1);
    Make("mid/b.qcow2", "../deep/a.qcow2", 2);
    Make("c.qcow2", "mid/b.qcow2", 3);
    Make("mid/d.qcow2", "../c.qcow2", 4);
    Run({"qemu-img", "convert", "-O", "raw", At("mid/d.qcow2"), At(".d")});
    privileged_ = true;
    auto catalog = Catalog::Open({{.path = At("mid"), .name = {}, .format = {}}},
                                 CatalogOptions{.backing_dirs = {dir_.path()}});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    events_ = std::make_unique<EventLog>();
    jobs_ = std::make_unique<JobManager>(*catalog_, *events_, JobTypes(),
                                         JobManagerOptions{.threads = 4, .failed = {}});
  }
  // In the directory of the image, as somebody would who stands there.
  void Make(const std::string& name, const std::string& backing, int value) const {
    Words command = {"qemu-img", "create", "-q", "-f", "qcow2"};
    if (!backing.empty()) command.insert(command.end(), {"-b", backing, "-F", "qcow2"});
    command.insert(command.end(), {At(name), "4M"});
    Run(command);
    Io(name, {"write -P " + std::to_string(value) + " " + std::to_string(value * 500) + "k 300k"});
  }
  std::string BackingOf(const std::string& name) const {
    return nlohmann::json::parse(Run({"qemu-img", "info", "-U", "--output=json", At(name)}))
        .value("backing-filename", "");
  }
  // And so it does when all of it is somewhere else.
  void ExpectShows(const std::string& name) {
    CloseAll();
    const TempDir elsewhere;
    Run({"cp", "-r", At("deep"), At("mid"), At("c.qcow2"), elsewhere.path()});
    std::filesystem::rename(At("deep"), At("away"));
    const std::string moved = elsewhere / name;
    Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", moved, At(".d")});
    Run({"qemu-img", "check", "-q", "-f", "qcow2", moved});
  }
};

TEST_F(CommitDirectoriesTest, NamesStayRelative) {
  Commit("d", "top=c.qcow2,base=" + At("deep/a.qcow2"));
  EXPECT_EQ(ChainOf("d"), (Words{"d.qcow2", "a.qcow2"}));
  EXPECT_EQ(BackingOf("mid/d.qcow2"), "../deep/a.qcow2");
  ExpectShows("mid/d.qcow2");
}

TEST_F(CommitDirectoriesTest, TheDiskGoesOnInAnotherDirectory) {
  Commit("d", "base=a.qcow2");
  EXPECT_EQ(ChainOf("d"), Words{"a.qcow2"});
  ExpectShows("deep/a.qcow2");
}

}  // namespace
}  // namespace chainfs::jobs
