// SPDX-License-Identifier: Apache-2.0
//
// Commits on chains made by the real qemu-img, which is the judge of what is left, too.
#pragma once

#include <string>
#include <string_view>

#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {

class CommitFixture : public StreamFixture {
 protected:
  // `keys`: as a user gives them, "top=c.qcow2,base=a.qcow2".
  Result<std::string> StartCommit(const std::string& disk, const std::string& keys) {
    const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), "commit");
    CHAINFS_ASSIGN(const verbs::Arguments arguments, verbs::Arguments::Parse(keys, verb->keys));
    return jobs_->Start(
        {.type = "commit", .disk = Disk(disk), .arguments = arguments, .privileged = privileged_});
  }
  std::string AcceptedCommit(const std::string& disk, const std::string& keys) {
    const Result<std::string> id = StartCommit(disk, keys);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  Error RefusedCommit(const std::string& disk, const std::string& keys) {
    const Result<std::string> id = StartCommit(disk, keys);
    EXPECT_FALSE(id) << *id << " was accepted";
    return id ? Error{} : id.error();
  }
  // From start to a good end.
  JobInfo Commit(const std::string& disk, const std::string& keys) {
    const JobInfo info = WaitEnd(disk, AcceptedCommit(disk, keys));
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
    EXPECT_FALSE(info.warning.has_value()) << *info.warning;
    return info;
  }
  // Waits until the disk's newest job has processed something, and is paused.
  void PauseAfterSome(const std::string& disk, const std::string& id) {
    WaitFor([&] { return jobs_->Find(disk, id)->current_progress > 0; }, "some progress");
    const Status paused = jobs_->Pause(Disk(disk), id);
    EXPECT_TRUE(paused) << paused.error().message;
    WaitFor([&] { return jobs_->Find(disk, id)->status == JobStatus::kPaused; }, "a pause");
  }

  // A copy of an image for qemu-img, in a directory of its own; backing names are relative.
  void CopyAside(const Words& names) const {
    Run({"mkdir", "-p", Aside("")});
    for (const std::string& name : names) Run({"cp", At(name), Aside(name)});
  }
  std::string Aside(const std::string& name) const { return dir_ / (".aside/" + name); }
  // Two images show the same, followed by what they are built on.
  void ExpectSame(const std::string& a, const std::string& b) const {
    Run({"qemu-img", "compare", "-f", FormatOf(a), "-F", FormatOf(b), a, b});
  }
  // What the guest of a disk reads.
  std::vector<std::byte> Contents(const std::string& disk) {
    const DiskPtr shown = Disk(disk);
    std::vector<std::byte> all(shown->size());
    const auto read = shown->Read(GuestOffset(0), all);
    EXPECT_TRUE(read && *read == all.size());
    return all;
  }

  bool privileged_ = false;  // whether root gives the commands
};

}  // namespace chainfs::jobs
