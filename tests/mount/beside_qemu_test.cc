// SPDX-License-Identifier: Apache-2.0
//
// Each live operation that QEMU has, done by qemu-storage-daemon and by chainfs to copies of the
// same images: what is left is of the same shape and shows the same.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <ostream>

#include "tests/mount/control.h"
#include "tests/mount/storage_daemon.h"
#include "tests/support/qmp_client.h"

namespace chainfs {
namespace {

using Words = std::vector<std::string>;

// One of the two daemons.
class Side {
 public:
  Side(QmpClient& client, std::string directory, bool ours)
      : client_(client), directory_(std::move(directory)), ours_(ours) {}

  bool ours() const { return ours_; }
  std::string File(const std::string& name) const { return directory_ + "/" + name; }
  void Say(const std::string& command, const Json& arguments) {
    const Json answer = client_.Ask(command, arguments);
    EXPECT_TRUE(answer.contains("return")) << command << ": " << answer;
  }
  // Refused by both.
  void SayInVain(const std::string& command, const Json& arguments) {
    const Json answer = client_.Ask(command, arguments);
    EXPECT_TRUE(answer.contains("error")) << command << ": " << answer;
  }
  void WaitReady() { EXPECT_FALSE(client_.WaitForEvent("BLOCK_JOB_READY", "j").is_null()); }
  void WaitEnd() {
    const Json event = client_.WaitForEvent("BLOCK_JOB_COMPLETED", "j");
    ASSERT_FALSE(event.is_null());
    EXPECT_FALSE(event["data"].contains("error")) << event;
  }
  // An image that is to be a target, and its node.
  void AddTarget(const std::string& backing, const std::string& size = "16M") {
    CreateQcow2(File("t.qcow2"), {.size = size, .backing = backing});
    Say("blockdev-add", {{"driver", "qcow2"},
                         {"node-name", "copy"},
                         {"backing", nullptr},
                         {"file", {{"driver", "file"}, {"filename", File("t.qcow2")}}}});
  }

 private:
  QmpClient& client_;
  const std::string directory_;
  const bool ours_;
};

struct Operation {
  const char* name;
  void (*run)(Side& side);
  Words results;  // what is compared, with all below it
};

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << operation.name;
}

void StreamAll(Side& side) {
  side.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}});
  side.WaitEnd();
}
void StreamToBase(Side& side) {
  side.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"base", side.File("base.qcow2")}});
  side.WaitEnd();
}
void CommitMiddle(Side& side) {
  side.Say("block-commit", {{"device", "vm1"},
                            {"job-id", "j"},
                            {"top", side.File("mid.qcow2")},
                            {"base", side.File("base.qcow2")}});
  side.WaitEnd();
}
void CommitActive(Side& side) {
  side.Say("block-commit", {{"device", "vm1"}, {"job-id", "j"}, {"base", side.File("mid.qcow2")}});
  side.WaitReady();
  side.Say("job-complete", {{"id", "j"}});
  side.WaitEnd();
}
void Mirror(Side& side, const std::string& sync, const std::string& copy_mode) {
  side.Say("blockdev-mirror", {{"device", "vm1"},
                               {"job-id", "j"},
                               {"target", "copy"},
                               {"sync", sync},
                               {"copy-mode", copy_mode}});
  side.WaitReady();
  side.Say("job-complete", {{"id", "j"}});
  side.WaitEnd();
}
void MirrorFull(Side& side) {
  side.AddTarget("");
  Mirror(side, "full", "background");
}
void MirrorBlocking(Side& side) {
  side.AddTarget("");
  Mirror(side, "full", "write-blocking");
}
void MirrorTop(Side& side) {
  side.AddTarget("mid.qcow2");
  Mirror(side, "top", "background");
}
// Here the target of such a one is always made by the job.
void MirrorNone(Side& side) {
  if (!side.ours()) {
    side.AddTarget("vm1.qcow2");
    Mirror(side, "none", "background");
    return;
  }
  side.Say("drive-mirror", {{"device", "vm1"},
                            {"job-id", "j"},
                            {"target", side.File("t.qcow2")},
                            {"format", "qcow2"},
                            {"sync", "none"}});
  side.WaitReady();
  side.Say("job-complete", {{"id", "j"}});
  side.WaitEnd();
}
// The storage daemon knows no drive-backup.
void Backup(Side& side, const std::string& sync, bool compress) {
  Json arguments = {{"device", "vm1"}, {"job-id", "j"}, {"sync", sync}, {"compress", compress}};
  if (side.ours()) {
    arguments["target"] = side.File("t.qcow2");
    arguments["format"] = "qcow2";
    side.Say("drive-backup", arguments);
  } else {
    side.AddTarget(sync == "top" ? "mid.qcow2" : "");
    arguments["target"] = "copy";
    side.Say("blockdev-backup", arguments);
  }
  side.WaitEnd();
}
void BackupFull(Side& side) { Backup(side, "full", false); }
void BackupTop(Side& side) { Backup(side, "top", false); }
void BackupCompressed(Side& side) { Backup(side, "full", true); }

Json SnapshotOf(const Side& side, const std::string& disk) {
  return {{"node-name", disk},
          {"snapshot-file", side.File(disk + "-s.qcow2")},
          {"snapshot-node-name", disk + "-s"}};
}
void Snapshot(Side& side) { side.Say("blockdev-snapshot-sync", SnapshotOf(side, "vm1")); }
// Onto an image that is there, and names what it is put on.
void SnapshotOntoOverlay(Side& side) {
  side.AddTarget("vm1.qcow2");
  side.Say("blockdev-snapshot", {{"node", "vm1"}, {"overlay", "copy"}});
  side.SayInVain("blockdev-snapshot", {{"node", "vm1"}, {"overlay", "copy"}});
}
void GroupSnapshot(Side& side) {
  const auto action = [](const Json& data) {
    return Json{{"type", "blockdev-snapshot-sync"}, {"data", data}};
  };
  Json of_nothing = SnapshotOf(side, "vm2");
  of_nothing["node-name"] = "nothing";
  side.SayInVain("transaction",
                 {{"actions", {action(SnapshotOf(side, "vm1")), action(of_nothing)}}});
  EXPECT_FALSE(std::filesystem::exists(side.File("nothing-s.qcow2")));
  side.Say("transaction",
           {{"actions", {action(SnapshotOf(side, "vm1")), action(SnapshotOf(side, "vm2"))}}});
}

class BesideQemuTest : public testing::TestWithParam<Operation> {
 protected:
  // base <- mid <- vm1, and vm2 alone.
  static void MakeImages(const TempDir& dir) {
    CreateQcow2(dir / "base.qcow2", {.size = "16M"});
    QemuIo(dir / "base.qcow2", "qcow2", {"write -P 1 0 9M"});
    CreateQcow2(dir / "mid.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir / "mid.qcow2", "qcow2", {"write -P 2 1M 4M", "write -z 6M 1M"});
    CreateQcow2(dir / "vm1.qcow2", {.backing = "mid.qcow2"});
    QemuIo(dir / "vm1.qcow2", "qcow2", {"write -P 3 2M 1M", "write -P 4 15M 100k"});
    CreateQcow2(dir / "vm2.qcow2", {.size = "4M"});
    QemuIo(dir / "vm2.qcow2", "qcow2", {"write -P 5 1M 64k"});
  }
  static void Run(const std::string& socket, const std::string& directory, bool ours) {
    QmpClient client(socket);
    ASSERT_TRUE(client.connected());
    client.Return("qmp_capabilities");
    Side side(client, directory, ours);
    GetParam().run(side);
  }
  // Names and formats, the uppermost first.
  static Words ShapeOf(const std::string& image) {
    Words shape;
    for (const Json& layer :
         Json::parse(MustRun({"qemu-img", "info", "--backing-chain", "--output=json", image}))) {
      const std::string path = layer["filename"];
      shape.push_back(path.substr(path.rfind('/') + 1) + " " + layer["format"].get<std::string>());
    }
    return shape;
  }
};

TEST_P(BesideQemuTest, LeavesTheSame) {
  const TempDir theirs;
  const TempDir ours;
  const TempDir other;
  MakeImages(theirs);
  MakeImages(ours);
  {
    const StorageDaemon rival(theirs.path(), {"vm1", "vm2"}, other.path());
    Run(rival.socket(), theirs.path(), false);
  }
  Daemon daemon({ours.path()}, {"-o", "qmp=" + (other / "ours.sock")});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  Run(other / "ours.sock", ours.path(), true);
  EXPECT_EQ(daemon.Stop().exit_code, 0);
  for (const std::string& result : GetParam().results) {
    SCOPED_TRACE(result);
    EXPECT_EQ(ShapeOf(ours / result), ShapeOf(theirs / result));
    MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", ours / result, theirs / result});
    EXPECT_EQ(CheckImage(ours / result), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Operations, BesideQemuTest,
    testing::Values(Operation{"stream", StreamAll, {"vm1.qcow2"}},
                    Operation{"stream_to_base", StreamToBase, {"vm1.qcow2"}},
                    Operation{"commit", CommitMiddle, {"vm1.qcow2", "base.qcow2"}},
                    Operation{"commit_active", CommitActive, {"mid.qcow2", "base.qcow2"}},
                    Operation{"mirror_full", MirrorFull, {"t.qcow2", "vm1.qcow2"}},
                    Operation{"mirror_blocking", MirrorBlocking, {"t.qcow2"}},
                    Operation{"mirror_top", MirrorTop, {"t.qcow2"}},
                    Operation{"mirror_none", MirrorNone, {"t.qcow2"}},
                    Operation{"backup_full", BackupFull, {"t.qcow2", "vm1.qcow2"}},
                    Operation{"backup_top", BackupTop, {"t.qcow2", "vm1.qcow2"}},
                    Operation{"backup_compressed", BackupCompressed, {"t.qcow2"}},
                    Operation{"snapshot", Snapshot, {"vm1-s.qcow2", "vm1.qcow2"}},
                    Operation{"snapshot_onto_overlay", SnapshotOntoOverlay, {"t.qcow2"}},
                    Operation{"group_snapshot", GroupSnapshot, {"vm1-s.qcow2", "vm2-s.qcow2"}}),
    [](const auto& operation) { return operation.param.name; });

}  // namespace
}  // namespace chainfs
