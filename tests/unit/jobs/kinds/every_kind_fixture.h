// SPDX-License-Identifier: Apache-2.0
//
// What holds for jobs of every kind, tried with one of each on the same chain a <- ... <- e.
#pragma once

#include <string>

#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {

struct KindOfJob {
  const char* name;
  const char* type;
  const char* keys;
  bool gets_ready;   // and stays so until it is completed
  const char* then;  // key of `complete`, "" for none
  Words shape;       // of the chain in the end
  const char* copy;  // what shows the same as the disk in the end, besides the disk; "" for none
};

inline std::ostream& operator<<(std::ostream& out, const KindOfJob& kind) {
  return out << kind.name;
}

inline std::vector<KindOfJob> EveryKindOfJob() {
  const Words as_it_was = {"e.qcow2", "d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"};
  return {
      {"stream", "stream", "base=a.qcow2", false, "", {"e.qcow2", "a.qcow2"}, ""},
      {"commit",
       "commit",
       "top=d.qcow2,base=b.qcow2",
       false,
       "",
       {"e.qcow2", "b.qcow2", "a.qcow2"},
       ""},
      {"active_commit", "commit", "base=b.qcow2,then=hold", true, "", {"b.qcow2", "a.qcow2"}, ""},
      {"mirror", "mirror", "target=copy.qcow2,then=hold", true, "pivot", {"copy.qcow2"}, ""},
      {"backup", "backup", "target=copy.qcow2,then=hold", true, "", as_it_was, "copy.qcow2"},
      {"rebase", "rebase", "base=flat.qcow2", false, "", {"e.qcow2", "flat.qcow2"}, ""},
  };
}

class EveryKindFixture : public StreamFixture, public testing::WithParamInterface<KindOfJob> {
 protected:
  // And flat.qcow2, which shows what e is built on.
  void MakeChainForAll() {
    MakeFive();
    Remember("e.qcow2");
    Run({"qemu-img", "convert", "-O", "qcow2", At("d.qcow2"), At("flat.qcow2")});
  }
  Result<std::string> StartOne(const std::string& more = "") {
    const std::string keys = std::string(GetParam().keys) + more;
    CHAINFS_ASSIGN(
        const verbs::Arguments arguments,
        verbs::Arguments::Parse(keys, verbs::FindVerb(verbs::Verbs(), GetParam().type)->keys));
    return jobs_->Start(
        {.type = GetParam().type, .disk = Disk("e"), .arguments = arguments, .privileged = true});
  }
  // At a speed at which it does not come to its end by itself.
  std::string StartSlowly() {
    const Result<std::string> id = StartOne(",speed=1");
    EXPECT_TRUE(id) << id.error().message;
    if (!id) return "";
    WaitFor([&] { return StatusOf(*id) == JobStatus::kRunning; }, *id + " to run");
    return *id;
  }
  JobStatus StatusOf(const std::string& id) const {
    const auto info = jobs_->Find("e", id);
    return info ? info->status : JobStatus::kUndefined;
  }
  void WaitReady(const std::string& id) {
    WaitFor([&] { return StatusOf(id) == JobStatus::kReady; }, id + " to be ready");
  }
  // From wherever it stands to its good end.
  void Finish(const std::string& id) {
    const DiskPtr disk = Disk("e");
    ASSERT_TRUE(jobs_->SetSpeed(disk, id, 0));
    if (GetParam().gets_ready) {
      WaitReady(id);
      verbs::Arguments arguments;
      if (*GetParam().then != '\0') arguments.Set("then", GetParam().then);
      const Status completed = jobs_->Complete(disk, id, arguments);
      ASSERT_TRUE(completed) << completed.error().message;
    }
    const JobInfo info = WaitEnd("e", id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
  // When everything is closed.
  void ExpectShape(const Words& shape) {
    EXPECT_EQ(ChainOnDisk(shape.front()), shape);
    Run({"qemu-img", "compare", "-F", "raw", At(shape.front()), At(".e.qcow2")});
    for (const std::string& name : shape) ExpectSound(name);
  }
  void ExpectDone() {
    ExpectShape(GetParam().shape);
    if (*GetParam().copy == '\0') return;
    Run({"qemu-img", "compare", "-F", "raw", At(GetParam().copy), At(".e.qcow2")});
    ExpectSound(GetParam().copy);
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }
};

inline std::string NameOfKind(const testing::TestParamInfo<KindOfJob>& kind) {
  return kind.param.name;
}

}  // namespace chainfs::jobs
