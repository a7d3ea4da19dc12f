// SPDX-License-Identifier: Apache-2.0
//
// ControlTest: a control plane over a catalog of images in memory, and a presentation that writes
// down what it is told. No mount, no FUSE.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "blocklayer/formats/qcow2/create.h"
#include "ctl/control/control_plane.h"
#include "tests/support/mem_host.h"

namespace chainfs::control {

using nlohmann::json;
using Words = std::vector<std::string>;

class Recorder final : public Presentation {
 public:
  void DiskAdded(const ServedDiskPtr& disk) override { Note("+" + disk->disk->name()); }
  void DiskRemoved(const Disk& disk) override { Note("-" + disk.name()); }
  void AttributesChanged(const Disk& disk) override { Note("a " + disk.name()); }
  void ContentsChanged(const Disk& disk) override { Note("c " + disk.name()); }
  void ReleaseEventReaders() override { Note("released"); }
  // Disks by name, and "" for the mount.
  bool LetsWrite(const Disk* disk, const Caller& /*caller*/) const override {
    const MutexLock lock(mu_);
    return !forbidden_.contains(disk == nullptr ? "" : disk->name());
  }

  Status TakeInChanges(const Disk& /*disk*/, uint64_t from) override {
    const MutexLock lock(mu_);
    taken_in_.push_back(from);
    if (!keeps_changes_) return {};
    return Fail(ErrorKind::kBusy, "there is something that cannot be had");
  }

  // From where on changes were asked for.
  std::vector<uint64_t> TakenIn() {
    const MutexLock lock(mu_);
    return std::exchange(taken_in_, {});
  }
  void KeepChanges(bool keep) {
    const MutexLock lock(mu_);
    keeps_changes_ = keep;
  }
  void Forbid(std::set<std::string> names) {
    const MutexLock lock(mu_);
    forbidden_ = std::move(names);
  }
  Words Take() {
    const MutexLock lock(mu_);
    return std::exchange(log_, {});
  }

 private:
  void Note(std::string what) {
    const MutexLock lock(mu_);
    log_.push_back(std::move(what));
  }

  mutable Mutex mu_;
  Words log_ GUARDED_BY(mu_);
  std::set<std::string> forbidden_ GUARDED_BY(mu_);
  std::vector<uint64_t> taken_in_ GUARDED_BY(mu_);
  bool keeps_changes_ GUARDED_BY(mu_) = false;
};

class ControlTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 1 << 20;
  static constexpr uid_t kDaemon = 1000;
  static constexpr gid_t kControlGroup = 2000;

  ~ControlTest() override { Close(); }

  // Backed by `backing`, if any, a qcow2 image.
  void Make(const std::string& name, const std::string& backing = "") {
    Qcow2CreateOptions options{.virtual_size = kSize};
    if (!backing.empty()) options.backing = BackingReference{.name = backing, .format = "qcow2"};
    const auto made = CreateQcow2(*host_->OpenRoot(), name, options);
    ASSERT_TRUE(made) << made.error().message;
  }

  void Open(CatalogOptions options = {}) {
    Close();
    options.open_directory = [host = host_](const std::string& path) {
      return path == "/mem" ? Result<std::unique_ptr<Directory>>(host->OpenRoot())
                            : Fail(ErrorKind::kNotFound, path + ": no such directory");
    };
    auto opened = Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, options);
    ASSERT_TRUE(opened) << opened.error().message;
    catalog_ = *std::move(opened);
    plane_ =
        std::make_unique<ControlPlane>(*catalog_, CommandAccess(kDaemon, kControlGroup), config_);
    plane_->Present(&shown_);
  }
  // The disks must have been let go of.
  void Close() {
    if (plane_ != nullptr) {
      plane_->EndJobs();
      plane_->Present(nullptr);
      plane_.reset();
    }
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
    catalog_.reset();
  }

  DiskPtr Find(const std::string& name) const {
    DiskPtr disk = catalog_->Find(name);
    EXPECT_NE(disk, nullptr) << name;
    return disk;
  }
  // As root; `disk` empty: on the mount.
  Status Order(const std::string& disk, std::string_view verb, std::string_view value = "",
               const Caller& caller = {}) {
    return plane_->commands.Execute(verb, value, disk.empty() ? nullptr : Find(disk), caller);
  }
  // The kind of the refusal; a failed expectation when there is none.
  ErrorKind Refused(const std::string& disk, std::string_view verb, std::string_view value = "",
                    const Caller& caller = {}) {
    const Status done = Order(disk, verb, value, caller);
    EXPECT_FALSE(done) << verb << " " << value;
    if (done) return ErrorKind::kIo;
    EXPECT_FALSE(done.error().message.empty());
    return done.error().kind;
  }
  std::string SentenceOf(const Status& refused) {
    return refused ? "not refused" : refused.error().message;
  }
  Words Layers(const std::string& disk) const {
    Words names;
    for (const LayerPtr& layer : Find(disk)->chain()->AllLayers()) names.push_back(layer->name);
    return names;
  }
  // Every event since the beginning.
  std::vector<json> Events() const {
    uint64_t cursor = plane_->events.OldestSequence();
    bool too_small = false;
    std::istringstream in(plane_->events.Read(&cursor, 1 << 20, &too_small));
    std::vector<json> events;
    for (std::string line; std::getline(in, line);) events.push_back(json::parse(line));
    return events;
  }
  void WaitConcluded(const std::string& disk, const std::string& id) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    for (;;) {
      const auto job = plane_->jobs.Find(disk, id);
      if (job && job->status == jobs::JobStatus::kConcluded) return;
      ASSERT_LT(std::chrono::steady_clock::now(), guard) << id << " does not end";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  MountConfig config_{.mountpoint = "/mnt", .threads = 3};
  Recorder shown_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<ControlPlane> plane_;
};

}  // namespace chainfs::control
