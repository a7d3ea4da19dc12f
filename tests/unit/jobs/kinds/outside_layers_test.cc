// SPDX-License-Identifier: Apache-2.0
//
// Who may have a job write a layer that lies outside the source directories.
#include <filesystem>
#include <memory>

#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

struct Writing {
  const char* name;
  const char* type;
  const char* keys;
  const char* outside;  // what it writes there; "": nothing, so everybody may
};

std::ostream& operator<<(std::ostream& out, const Writing& writing) { return out << writing.name; }

class OutsideLayersTest : public StreamFixture, public testing::WithParamInterface<Writing> {
 protected:
  // out/a <- out/b <- in/c <- out/d <- in/e <- in/f
  void SetUp() override {
    std::filesystem::create_directory(At("in"));
    std::filesystem::create_directory(At("out"));
    const char* below = "";
    int n = 0;
    for (const char* const name : {"out/a", "out/b", "in/c", "out/d", "in/e", "in/f"}) {
      const std::string file = std::string(name) + ".qcow2";
      Create(file, 4 * kMiB, *below == '\0' ? "" : At(std::string(below) + ".qcow2"));
      below = name;
      ++n;
      Io(file, {"write -P " + std::to_string(n) + " " + std::to_string(n * 400) + "k 500k"});
    }
    Run({"qemu-img", "convert", "-O", "raw", At("in/f.qcow2"), At(".f")});
    Run({"qemu-img", "convert", "-O", "qcow2", At("out/b.qcow2"), At("out/copy-of-b.qcow2")});
    Run({"qemu-img", "convert", "-O", "qcow2", At("in/c.qcow2"), At("out/copy-of-c.qcow2")});
    Open();
  }
  void Open() {
    auto catalog = Catalog::Open({{.path = At("in"), .name = {}, .format = {}}},
                                 CatalogOptions{.backing_dirs = {At("out")}});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    events_ = std::make_unique<EventLog>();
    jobs_ = std::make_unique<JobManager>(*catalog_, *events_, JobTypes(),
                                         JobManagerOptions{.threads = 2, .failed = {}});
  }
  Result<std::string> Start(const char* type, const std::string& keys, bool privileged) {
    const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), type);
    CHAINFS_ASSIGN(const verbs::Arguments arguments, verbs::Arguments::Parse(keys, verb->keys));
    return jobs_->Start(
        {.type = type, .disk = Disk("f"), .arguments = arguments, .privileged = privileged});
  }
  static std::string Joined(const std::string& keys, const std::string& more) {
    return keys.empty() || more.empty() ? keys + more : keys + "," + more;
  }
  void ExpectDone(const Result<std::string>& id) {
    ASSERT_TRUE(id) << id.error().message;
    const JobInfo info = WaitEnd("f", *id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    const std::string active = Disk("f")->chain()->active->path;
    CloseAll();
    Run({"qemu-img", "compare", "-F", "raw", active, At(".f")});
  }
};

TEST_P(OutsideLayersTest, OnlyRootHasThemWritten) {
  const Writing& writing = GetParam();
  const bool outside = *writing.outside != '\0';
  if (outside) {
    for (const char* const more : {"", "dry-run=yes"}) {
      const Result<std::string> id = Start(writing.type, Joined(writing.keys, more), false);
      ASSERT_FALSE(id) << *id << " was accepted";
      EXPECT_EQ(id.error().kind, ErrorKind::kAccess);
      EXPECT_EQ(id.error().message, At(writing.outside) +
                                        ": lies outside the source directories; "
                                        "only root may have it written");
    }
    EXPECT_TRUE(Records().empty());
  }
  ExpectDone(Start(writing.type, writing.keys, outside));
}

INSTANTIATE_TEST_SUITE_P(
    Each, OutsideLayersTest,
    testing::Values(
        Writing{"stream_into_the_active_layer", "stream", "", ""},
        Writing{"stream_into_one_inside", "stream", "top=c.qcow2,base=a.qcow2", ""},
        Writing{"stream_into_one_outside", "stream", "top=d.qcow2", "out/d.qcow2"},
        Writing{"commit_inside", "commit", "top=e.qcow2,base=c.qcow2", ""},
        Writing{"commit_of_the_active_layer_inside", "commit", "base=e.qcow2", ""},
        Writing{"commit_into_base_outside", "commit", "top=e.qcow2,base=d.qcow2", "out/d.qcow2"},
        Writing{"commit_below_one_outside", "commit", "top=c.qcow2,base=b.qcow2", "out/b.qcow2"},
        Writing{"commit_that_empties", "commit", "top=e.qcow2,base=c.qcow2,delete=empty",
                "out/d.qcow2"},
        Writing{"commit_that_reclaims", "commit", "top=e.qcow2,base=c.qcow2,reclaim=yes",
                "out/d.qcow2"},
        Writing{"rebase_inside", "rebase", "top=c.qcow2,base=../out/copy-of-b.qcow2", ""},
        Writing{"rebase_outside", "rebase", "top=d.qcow2,base=copy-of-c.qcow2", "out/d.qcow2"},
        Writing{"backup", "backup", "target=copy.qcow2", ""},
        Writing{"mirror", "mirror", "target=copy.qcow2,then=pivot", ""}),
    [](const testing::TestParamInfo<Writing>& writing) { return writing.param.name; });

class LeftSourcesTest : public OutsideLayersTest {};

// Whoever writes the disk writes that layer anyway.
TEST_F(LeftSourcesTest, TheActiveLayerMayLieAnywhere) {
  Snapshot("f", {.target = At("out/g.qcow2"), .anywhere = true});
  ExpectDone(Start("stream", "base=c.qcow2", false));
  Open();
  // But not once it is frozen.
  Snapshot("f", {.target = At("in/h.qcow2")});
  const Result<std::string> id = Start("stream", "top=g.qcow2", false);
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().kind, ErrorKind::kAccess);
}

}  // namespace
}  // namespace chainfs::jobs
