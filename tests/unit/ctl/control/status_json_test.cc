// SPDX-License-Identifier: Apache-2.0
//
// The JSON that users see: one line, the documented keys, never longer than an attribute may be.
#include "ctl/control/status_json.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "ctl/control/map_stream.h"
#include "ctl/control/metrics_text.h"
#include "tests/support/temp_dir.h"

namespace chainfs::control {
namespace {

using nlohmann::json;

constexpr uint64_t kDiskBytes = 1 << 20;

// A catalog of one raw image.
class StatusJsonTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteTextFile(dir_ / "vm1.raw", "");
    ASSERT_EQ(::truncate((dir_ / "vm1.raw").c_str(), kDiskBytes), 0);
    auto catalog =
        Catalog::Open({{.path = dir_.path(), .name = std::nullopt, .format = std::nullopt}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    disk_ = catalog_->Find("vm1");
    ASSERT_NE(disk_, nullptr);
  }
  void TearDown() override {
    disk_.reset();
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
  }

  TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
  DiskPtr disk_;
};

TEST_F(StatusJsonTest, InfoHasTheDocumentedKeys) {
  const std::string text = DiskInfoJson(*disk_, 0, std::nullopt);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const json info = json::parse(text);
  EXPECT_EQ(info["name"], "vm1");
  EXPECT_EQ(info["format"], "raw");
  EXPECT_EQ(info["virtual-size"], kDiskBytes);
  EXPECT_EQ(info["read-only"], false);
  EXPECT_EQ(info["depth"], 1);
  EXPECT_EQ(info["active"], dir_ / "vm1.raw");
  EXPECT_TRUE(info["actual-size"].is_number_unsigned());
  EXPECT_TRUE(info["cluster-size"].is_number_unsigned());
  EXPECT_EQ(info["extended-l2"], false);
  EXPECT_TRUE(info["generation"].is_number_unsigned());
}

TEST_F(StatusJsonTest, ChainListsLayersTopToBase) {
  const json chain = json::parse(ChainJson(*disk_, kMaxAttributeListBytes));
  ASSERT_EQ(chain.size(), 1u);
  EXPECT_EQ(chain[0]["filename"], dir_ / "vm1.raw");
  EXPECT_EQ(chain[0]["format"], "raw");
  EXPECT_FALSE(chain[0].contains("backing-filename"));
}

TEST_F(StatusJsonTest, ChainsFileNamesFilesAndBrokenImages) {
  const BrokenImage broken = {
      .name = "bad", .path = "/img/bad.qcow2", .error = Fail(ErrorKind::kCorrupt, "torn").error()};
  const json file = json::parse(
      ChainsFileJson(catalog_->Disks(), {broken}, {ImageNote{.name = "vm1", .text = "a note"}}));
  EXPECT_EQ(file["chains"][0]["file"], "vm1.raw");
  EXPECT_EQ(file["chains"][0]["layers"].size(), 1u);
  EXPECT_EQ(file["broken"][0]["error"], "torn");
  EXPECT_EQ(file["notes"][0], "vm1: a note");
}

TEST_F(StatusJsonTest, MapCoversTheDiskWithoutGaps) {
  const std::vector<std::byte> data(65536, std::byte{7});
  ASSERT_TRUE(disk_->Write(GuestOffset(131072), data));
  const auto text = MapStream(disk_)->Read(0, 1 << 20);
  ASSERT_TRUE(text);
  uint64_t end = 0;
  bool data_seen = false;
  for (const json& extent : json::parse(*text)) {
    EXPECT_EQ(extent["start"], end);
    end += extent["length"].get<uint64_t>();
    if (extent["start"] <= 131072 && end > 131072) {
      data_seen = extent["data"];
      EXPECT_EQ(extent["filename"], dir_ / "vm1.raw");
      EXPECT_EQ(extent["depth"], 0);
    }
  }
  EXPECT_EQ(end, kDiskBytes);
  EXPECT_TRUE(data_seen);
}

TEST(StatusJson, LongListsAreCutAndSaySo) {
  std::vector<jobs::JobInfo> jobs(5000);
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].id = "job-" + std::to_string(i);
    jobs[i].type = "stream";
    jobs[i].disk = "vm1";
  }
  const std::string text = JobsJson(jobs, kMaxAttributeListBytes);
  EXPECT_LT(text.size(), 65536u);
  const json list = json::parse(text);
  EXPECT_EQ(list.back(), json({{"truncated", true}}));
  EXPECT_EQ(list.front()["id"], "job-0");
  EXPECT_EQ(json::parse(JobsFileJson(jobs))["jobs"].size(), jobs.size());
}

TEST(StatusJson, RefusalIsASentenceWithAnErrno) {
  const json refusal = json::parse(RefusalJson(std::chrono::system_clock::time_point(),
                                               "user.chainfs.stream", EBUSY, "layer \xff in use"));
  EXPECT_EQ(refusal["time"], "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(refusal["attribute"], "user.chainfs.stream");
  EXPECT_EQ(refusal["errno"], "EBUSY");
  EXPECT_NE(refusal["message"].get<std::string>().find("in use"), std::string::npos);
}

TEST(StatusJson, MetricsArePrometheusText) {
  const std::string text = MetricsText({.disks = {}, .jobs = {}, .metadata_hits = 5});
  EXPECT_NE(text.find("chainfs_metadata_cache_hits_total 5\n"), std::string::npos);
  EXPECT_NE(text.find("# TYPE chainfs_read_seconds histogram\n"), std::string::npos);
}

}  // namespace
}  // namespace chainfs::control
