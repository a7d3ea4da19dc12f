// SPDX-License-Identifier: Apache-2.0
//
// What a mirror is refused, in a sentence that says what and why, with nothing changed.
#include <gtest/gtest.h>

#include "tests/unit/jobs/mirror/mirror_fixture.h"

namespace chainfs::jobs {
namespace {

class MirrorRefusedTest : public MirrorFixture {
 protected:
  void SetUp() override {
    MakeFive();
    Create("small.qcow2", 4 * kMiB);
    Create("free.qcow2", 8 * kMiB);
    OpenAll();
  }
  void Expect(const Pairs& words, ErrorKind kind, const std::string& part, bool privileged = true) {
    const Error error = RefusedMirror("e", words, privileged);
    EXPECT_EQ(error.kind, kind) << error.message;
    EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    EXPECT_TRUE(Records("job-").empty());
    EXPECT_TRUE(Records("intent-").empty());
    EXPECT_FALSE(Exists("copy.qcow2"));
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_NE(catalog_->Find("free"), nullptr);
    EXPECT_FALSE(Disk("e")->read_only());
  }
};

TEST_F(MirrorRefusedTest, WordsThatMakeNoSense) {
  Expect({{"target", ""}}, ErrorKind::kInvalidArgument, "target=");
  Expect({{"target", "copy"}}, ErrorKind::kInvalidArgument, "extension");
  Expect({{"target", "copy.qcow2"}, {"format", "qed"}}, ErrorKind::kUnsupported, "qed");
  Expect({{"target", "copy.vdi"}}, ErrorKind::kInvalidArgument, "only reads vdi images");
  Expect({{"target", "copy.qcow2"}, {"format", "raw"}}, ErrorKind::kInvalidArgument, "extension");
  Expect({{"target", "copy.qcow2"}, {"sync", "bitmap"}}, ErrorKind::kInvalidArgument, "bitmap");
  Expect({{"target", "copy.qcow2"}, {"then", "go"}}, ErrorKind::kInvalidArgument, "then=go");
  Expect({{"target", "copy.qcow2"}, {"copy-mode", "x"}}, ErrorKind::kInvalidArgument, "copy-mode");
  Expect({{"target", "copy.raw"}, {"cluster_size", "65536"}}, ErrorKind::kInvalidArgument, "raw");
  Expect({{"target", "copy.qcow2"}, {"cluster_size", "1000"}}, ErrorKind::kInvalidArgument,
         "power of two");
  Expect({{"target", "free.qcow2"}, {"existing", "yes"}, {"lazy_refcounts", "yes"}},
         ErrorKind::kInvalidArgument, "lazy_refcounts");
  Expect({{"target", "free.qcow2"}, {"existing", "yes"}, {"compress", "zstd"}},
         ErrorKind::kInvalidArgument, "compress=");
  Expect({{"target", "copy.raw"}, {"compress", "zlib"}}, ErrorKind::kInvalidArgument, "compress");
  Expect({{"target", "copy.qcow2"}, {"compress", "lz4"}}, ErrorKind::kInvalidArgument, "zstd");
  Expect({{"target", "copy.qcow2"}, {"compress", "zlib"}, {"sync", "none"}},
         ErrorKind::kInvalidArgument, "nothing is copied");
}

TEST_F(MirrorRefusedTest, EndsThatDoNotFit) {
  Expect({{"target", "copy.raw"}, {"sync", "top"}}, ErrorKind::kInvalidArgument, "raw");
  Expect({{"target", "copy.raw"}, {"sync", "none"}}, ErrorKind::kInvalidArgument, "raw");
  Expect({{"target", "copy.qcow2"}, {"sync", "none"}, {"then", "keep"}},
         ErrorKind::kInvalidArgument, "goes on changing");
  Expect({{"target", "free.qcow2"}, {"sync", "none"}, {"existing", "yes"}},
         ErrorKind::kInvalidArgument, "must be a new one");
  const Error frozen = RefusedMirror("d", {{"target", "copy.qcow2"}, {"then", "pivot"}});
  EXPECT_EQ(frozen.kind, ErrorKind::kReadOnly);
}

TEST_F(MirrorRefusedTest, TargetsThatAreInTheWay) {
  Expect({{"target", "free.qcow2"}}, ErrorKind::kExists, "free.qcow2");
  Expect({{"target", "e.qcow2"}}, ErrorKind::kInvalidArgument, "layer of e itself");
  Expect({{"target", "a.qcow2"}, {"existing", "yes"}}, ErrorKind::kInvalidArgument, "layer of e");
  Expect({{"target", At("b.qcow2")}}, ErrorKind::kInvalidArgument, "layer of e");
  Expect({{"target", "small.qcow2"}, {"existing", "yes"}}, ErrorKind::kInvalidArgument, "bytes");
  Expect({{"target", "missing.qcow2"}, {"existing", "yes"}}, ErrorKind::kNotFound, "missing.qcow2");
  Expect({{"target", "/nowhere/copy.qcow2"}}, ErrorKind::kNotFound, "nowhere");
  Expect({{"target", "../copy.qcow2"}}, ErrorKind::kAccess, "copy.qcow2", false);
  Expect({{"target", ".chainfs/copy.qcow2"}}, ErrorKind::kInvalidArgument, "records");
}

TEST_F(MirrorRefusedTest, NamesThatAreTooLong) {
  const std::string fits = std::string(255 - 6, 'x') + ".qcow2";
  Expect({{"target", fits}}, ErrorKind::kInvalidArgument, " bytes are possible");
  Expect({{"target", "x" + fits}}, ErrorKind::kInvalidArgument, "at most 255 bytes");
  Expect({{"target", "x" + fits}, {"existing", "yes"}}, ErrorKind::kInvalidArgument, "255 bytes");
}

TEST_F(MirrorRefusedTest, ATargetThatSomebodyUses) {
  const DiskPtr open = Disk("free");
  const auto ticket = open->access().CountReader();
  const Error error = RefusedMirror("e", {{"target", "free.qcow2"}, {"existing", "yes"}});
  EXPECT_EQ(error.kind, ErrorKind::kBusy);
  EXPECT_NE(error.message.find("open"), std::string::npos) << error.message;
}

TEST_F(MirrorRefusedTest, TwoAtOnce) {
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WaitStatus("e", id, JobStatus::kReady);
  EXPECT_EQ(RefusedMirror("e", {{"target", "other.qcow2"}}).kind, ErrorKind::kBusy);
  EXPECT_EQ(RefusedMirror("free", {{"target", "copy.qcow2"}, {"existing", "yes"}}).kind,
            ErrorKind::kBusy);
  EXPECT_EQ(jobs_->Complete(Disk("e"), id, verbs::Arguments().Set("then", "hold")).error().kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(jobs_->Change(Disk("e"), id, verbs::Arguments()).error().kind,
            ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace chainfs::jobs
