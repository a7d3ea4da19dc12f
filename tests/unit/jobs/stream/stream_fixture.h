// SPDX-License-Identifier: Apache-2.0
//
// Chains made by the real qemu-img in a directory of the test's own, a catalog and a job manager
// over them, and qemu-img as the judge of what is left.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "jobs/engine/job_manager.h"
#include "jobs/job_types.h"
#include "tests/support/command.h"
#include "tests/support/random.h"
#include "tests/support/stream_request.h"
#include "tests/support/temp_dir.h"

namespace chainfs::jobs {

using Words = std::vector<std::string>;

inline void WaitFor(const std::function<bool()>& condition, const std::string& what) {
  const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(240);
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), guard) << "never: " << what;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Publishes changes of chains, as the control plane does.
class ChainChanges final : public CatalogObserver {
 public:
  explicit ChainChanges(EventLog& events) : events_(events) {}
  void DiskAdded(const DiskPtr& /*disk*/) override {}
  void DiskRemoved(const DiskPtr& /*disk*/) override {}
  void ChainChanged(const DiskPtr& disk) override {
    events_.Publish("CHAIN_CHANGE", {TextField("disk", disk->name()),
                                     NumberField("generation", disk->chain()->generation)});
  }
  void DiskError(const Disk& /*disk*/, std::string_view, const Error&) override {}
  void ImageBroken(const BrokenImage& /*image*/) override {}

 private:
  EventLog& events_;
};

class StreamFixture : public testing::Test {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;

  ~StreamFixture() override { CloseAll(); }

  // ---- Images, while nothing is open.

  static std::string Run(const Words& command) {
    const CommandResult result = RunCommand(command);
    EXPECT_TRUE(result.ok()) << command[0] << " " << command[1] << ": " << result.Describe();
    return result.out;
  }
  std::string At(const std::string& name) const { return dir_ / name; }

  // `backing` is a file name beside it; its format from its extension.
  void Create(const std::string& name, uint64_t size, const std::string& backing = "",
              const std::string& options = "") const {
    Words command = {"qemu-img", "create", "-q", "-f", FormatOf(name)};
    if (!options.empty()) command.insert(command.end(), {"-o", options});
    if (!backing.empty()) command.insert(command.end(), {"-b", backing, "-F", FormatOf(backing)});
    command.insert(command.end(), {At(name), std::to_string(size)});
    Run(command);
  }
  // qemu-io commands, such as "write -P 1 0 64k".
  void Io(const std::string& name, const Words& commands) const {
    Words command = {"qemu-io", "-f", FormatOf(name)};
    for (const std::string& one : commands) command.insert(command.end(), {"-c", one});
    command.push_back(At(name));
    Run(command);
  }
  static std::string FormatOf(const std::string& name) {
    return name.ends_with(".raw") ? "raw" : "qcow2";
  }
  // a <- b <- c <- d <- e, 8 MiB, each with some data of its own, some of it over another's.
  void MakeFive() const {
    const char* below = "";
    for (const char* name : {"a", "b", "c", "d", "e"}) {
      const std::string file = std::string(name) + ".qcow2";
      Create(file, 8 * kMiB, *below == '\0' ? "" : std::string(below) + ".qcow2");
      below = name;
      const int n = name[0] - 'a';
      Io(file,
         {"write -P " + std::to_string(n + 1) + " " + std::to_string(n) + "M 1M",
          "write -P " + std::to_string(n + 17) + " " + std::to_string(5120 + n * 300) + "k 400k"});
    }
  }
  // What the chain of `name` shows, into a raw file for later.
  void Remember(const std::string& name) const {
    Run({"qemu-img", "convert", "-f", FormatOf(name), "-O", "raw", At(name), At("." + name)});
  }
  // It still shows that, and every image is sound.
  void ExpectAsRemembered(const std::string& name) const {
    Run({"qemu-img", "compare", "-f", FormatOf(name), "-F", "raw", At(name), At("." + name)});
    ExpectSound(name);
  }
  void ExpectSound(const std::string& name) const {
    if (FormatOf(name) == "qcow2") Run({"qemu-img", "check", "-q", "-f", "qcow2", At(name)});
  }
  // File names, top first.
  Words ChainOnDisk(const std::string& name) const {
    Words names;
    const auto chain = nlohmann::json::parse(
        Run({"qemu-img", "info", "--backing-chain", "--output=json", At(name)}));
    for (const auto& image : chain) {
      const std::string path = image["filename"];
      names.push_back(path.substr(path.rfind('/') + 1));
    }
    return names;
  }

  // ---- The catalog and its jobs.

  void OpenAll(CatalogOptions options = {}) {
    auto catalog = Catalog::Open({{.path = dir_.path()}}, std::move(options));
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    events_ = std::make_unique<EventLog>();
    changes_ = std::make_unique<ChainChanges>(*events_);
    catalog_->SetObserver(changes_.get());
    jobs_ = std::make_unique<JobManager>(*catalog_, *events_, JobTypes(),
                                         JobManagerOptions{.threads = 4});
  }
  void CloseAll() {
    if (jobs_) jobs_->Shutdown();
    jobs_.reset();
    if (catalog_) {
      EXPECT_TRUE(catalog_->Close());
    }
    catalog_.reset();
  }
  DiskPtr Disk(const std::string& name) const {
    DiskPtr disk = catalog_->Find(name);
    EXPECT_TRUE(disk) << name;
    return disk;
  }
  Words ChainOf(const std::string& disk) const {
    Words names;
    for (const LayerPtr& layer : Disk(disk)->chain()->AllLayers()) names.push_back(layer->name);
    return names;
  }
  // The id, or "" and a failed expectation.
  std::string Accepted(const StreamRequest& request) {
    const Result<std::string> id = StartStream(*jobs_, *catalog_, request);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  Error Refused(const StreamRequest& request) {
    const Result<std::string> id = StartStream(*jobs_, *catalog_, request);
    EXPECT_FALSE(id) << *id << " was accepted";
    return id ? Error{} : id.error();
  }
  JobInfo WaitEnd(const std::string& disk, const std::string& id) {
    JobInfo info;
    WaitFor(
        [&] {
          const auto found = jobs_->Find(disk, id);
          if (found) info = *found;
          return found && found->status == JobStatus::kConcluded;
        },
        "the end of " + id);
    return info;
  }
  void Snapshot(const std::string& disk, const SnapshotRequest& request = {}) {
    const Result<LayerPtr> active = catalog_->Snapshot(Disk(disk), request);
    ASSERT_TRUE(active) << active.error().message;
  }
  // From start to a good end.
  void Stream(const StreamRequest& request) {
    const JobInfo info = WaitEnd(request.disk, Accepted(request));
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
  }
  std::vector<nlohmann::json> Events(std::string_view name = "") const {
    uint64_t cursor = 1;
    bool too_small = false;
    std::istringstream in(events_->Read(&cursor, 16 << 20, &too_small));
    std::vector<nlohmann::json> events;
    for (std::string line; std::getline(in, line);) {
      events.push_back(nlohmann::json::parse(line));
      if (!name.empty() && events.back()["event"] != name) events.pop_back();
    }
    return events;
  }
  Words Records(std::string_view prefix = "job-") const {
    Words names;
    const auto records = catalog_->records().ReadAll(prefix);
    EXPECT_TRUE(records);
    for (const auto& record : *records) names.push_back(record.name);
    return names;
  }

  TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<ChainChanges> changes_;
  std::unique_ptr<JobManager> jobs_;
};

}  // namespace chainfs::jobs
