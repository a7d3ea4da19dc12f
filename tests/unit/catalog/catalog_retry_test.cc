// SPDX-License-Identifier: Apache-2.0
//
// What failed for a reason that may pass is tried again, but ever less often; and nothing is
// remembered of what is gone.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "blocklayer/base/backoff.h"
#include "blocklayer/formats/qcow2/create.h"
#include "tests/support/mem_host.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(BackoffTest, ItWaitsTwiceAsLongEachTimeUpToAMinute) {
  Backoff backoff;
  Backoff::Clock::time_point now;
  EXPECT_TRUE(backoff.IsDue(now));
  EXPECT_FALSE(backoff.next());
  for (const int pause : {1, 2, 4, 8, 16, 32, 60, 60}) {
    backoff.Failed(now);
    EXPECT_EQ(*backoff.next(), now + seconds(pause));
    EXPECT_FALSE(backoff.IsDue(now + seconds(pause) - milliseconds(1)));
    now += seconds(pause);
    EXPECT_TRUE(backoff.IsDue(now));
  }
  backoff.Reset();
  EXPECT_TRUE(backoff.IsDue(now));
  backoff.Failed(now);
  EXPECT_EQ(*backoff.next(), now + seconds(1));
}

// A host whose vm1.qcow2 can be looked at, but not opened: its tables cannot be read.
class CatalogRetryTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto root = host_->OpenRoot();
    ASSERT_TRUE(CreateQcow2(*root, "base.qcow2", {.virtual_size = 1 << 20, .backing = {}}));
    const BackingReference base{.name = "base.qcow2", .format = "qcow2"};
    ASSERT_TRUE(CreateQcow2(*root, "vm1.qcow2", {.virtual_size = 1 << 20, .backing = base}));
    tables_ = host_->AddFault({.matches =
                                   [](const HostCall& call) {
                                     return call.op == HostOp::kRead && call.offset != 0 &&
                                            call.name == "vm1.qcow2";
                                   },
                               .skip = 0,
                               .forever = true,
                               .error = EIO,
                               .landed = 0,
                               .drop_unsynced = false});
    CatalogOptions options;
    options.open_directory = [host = host_](const std::string&) { return host->OpenRoot(); };
    auto opened = Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, options);
    ASSERT_TRUE(opened) << opened.error().message;
    catalog_ = *std::move(opened);
    ASSERT_EQ(catalog_->Find("vm1"), nullptr);
    attempts_ = host_->FaultHits(tables_);
    ASSERT_GT(attempts_, 0u);
  }
  bool TriedAgain() {
    EXPECT_TRUE(catalog_->Rescan());
    const uint64_t before = attempts_;
    attempts_ = host_->FaultHits(tables_);
    return attempts_ > before;
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  size_t tables_ = 0;
  std::unique_ptr<Catalog> catalog_;
  uint64_t attempts_ = 0;
};

TEST_F(CatalogRetryTest, AnImageThatFailedIsLeftAloneForAWhile) {
  auto next = catalog_->NextRetry();
  ASSERT_TRUE(next);
  EXPECT_LE(*next, Backoff::Clock::now() + Backoff::kFirst);
  // The second pause is longer.
  for (int i = 0; i < 2; ++i) {
    while (!TriedAgain()) ASSERT_LT(Backoff::Clock::now(), *next + std::chrono::minutes(1));
    EXPECT_GE(Backoff::Clock::now(), *next);
    const auto after = catalog_->NextRetry();
    EXPECT_GT(*after, *next + Backoff::kFirst);
    next = after;
  }
  host_->ClearFaults();
  std::this_thread::sleep_until(*catalog_->NextRetry());
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("vm1"), nullptr);
  EXPECT_FALSE(catalog_->NextRetry());
}

TEST_F(CatalogRetryTest, WhoAsksForItNeedNotWait) {
  EXPECT_FALSE(catalog_->AskFor("base"));
  EXPECT_FALSE(catalog_->AskFor("nothing"));
  const auto asked = Backoff::Clock::now();
  EXPECT_TRUE(catalog_->AskFor("vm1"));
  EXPECT_TRUE(TriedAgain());
  EXPECT_FALSE(TriedAgain());
  const bool again = catalog_->AskFor("vm1");
  EXPECT_FALSE(again && Backoff::Clock::now() < asked + milliseconds(250))
      << "somebody who keeps asking does not count";
  std::this_thread::sleep_for(milliseconds(300));
  host_->ClearFaults();
  EXPECT_TRUE(catalog_->AskFor("vm1"));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("vm1"), nullptr);
  EXPECT_FALSE(catalog_->AskFor("vm1"));
}

TEST_F(CatalogRetryTest, AFileThatChangedIsTriedAtOnce) {
  EXPECT_FALSE(TriedAgain());
  const auto root = host_->OpenRoot();
  {
    auto file = root->Open("vm1.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    ASSERT_TRUE((*file)->Truncate(*(*file)->Size() + 512));
  }
  EXPECT_TRUE(TriedAgain());
  EXPECT_FALSE(TriedAgain());
}

// CAT-1: what its header says does not change because nobody can look at it for a moment.
TEST_F(CatalogRetryTest, ABaseStaysReadOnlyWhileItsOverlayCannotBeLookedAt) {
  ASSERT_TRUE(catalog_->Find("base")->read_only());
  for (const int error : {EMFILE, EIO, EACCES}) {
    uint64_t refused = 0;
    host_->SetHook([&](const HostCall& call) {
      if (call.op != HostOp::kOpen || call.name != "vm1.qcow2") return 0;
      ++refused;
      return error;
    });
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(catalog_->Rescan());
      EXPECT_TRUE(catalog_->Find("base")->read_only()) << error;
    }
    EXPECT_GT(refused, 0u);
    host_->SetHook({});
  }
}

class CatalogMemoryTest : public CatalogTest {};

TEST_F(CatalogMemoryTest, NothingIsRememberedOfImagesThatAreGone) {
  MakeQcow2("stays.qcow2");
  ASSERT_TRUE(OpenAll());
  ASSERT_TRUE(catalog_->Rescan());
  const size_t at_first = catalog_->Remembered();
  constexpr int kImages = 12;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kImages; ++i) {
      const std::string n = std::to_string(round) + "-" + std::to_string(i);
      ASSERT_EQ(::mkdir(At("sub" + n).c_str(), 0700), 0);
      MakeQcow2("sub" + n + "/base.qcow2");
      MakeOverlay("top" + n + ".qcow2", "sub" + n + "/base.qcow2");
      MakeOverlay("top" + n + ".snap", "top" + n + ".qcow2");
      WriteTextFile(At("text" + n), std::string(100, 't'));
      WriteTextFile(At("bad" + n + ".qcow2"), std::string(100, 't'));
    }
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_EQ(Shown().size(), 1u + kImages);
    EXPECT_GT(catalog_->Remembered(), at_first + 6 * kImages);
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.path().filename() != "stays.qcow2") std::filesystem::remove_all(entry.path());
    }
    ASSERT_TRUE(catalog_->Rescan());
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_EQ(Shown().size(), 1u);
    EXPECT_EQ(catalog_->Remembered(), at_first);
  }
}

// Records belong to the source of the disk, also when another one has its name by now.
TEST_F(CatalogMemoryTest, ADiskThatIsGoneKeepsTheSourceOfItsRecords) {
  TempDir other;
  MakeQcow2("a.qcow2");
  ASSERT_TRUE(Open({{.path = dir_.path(), .name = {}, .format = {}},
                    {.path = other.path(), .name = {}, .format = {}}}));
  const DiskPtr gone = catalog_->Find("a");
  ASSERT_EQ(::rename(At("a.qcow2").c_str(), At(".a").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", other / "a.qcow2", "1M"});
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(catalog_->Find("a"), nullptr);
  ASSERT_TRUE(catalog_->records().Write(*gone, "job-1", "text"));
  EXPECT_TRUE(std::filesystem::exists(At(".chainfs/job-1")));
  EXPECT_FALSE(std::filesystem::exists(other / ".chainfs/job-1"));
}

TEST_F(CatalogMemoryTest, TooManyOpenFilesAreNamedAndPass) {
  for (int i = 0; i < 12; ++i) MakeQcow2("vm" + std::to_string(i) + ".qcow2");
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest = ::open("/", O_PATH | O_CLOEXEC);
  ASSERT_GE(lowest, 0);
  ::close(lowest);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(lowest) + 10;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const Status opened = OpenAll();
  const size_t shown = opened ? Shown().size() : 0;
  const std::vector<BrokenImage> broken = opened ? catalog_->Broken() : std::vector<BrokenImage>();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_GT(shown, 2u);
  ASSERT_FALSE(broken.empty());
  for (const BrokenImage& image : broken) {
    EXPECT_NE(image.error.message.find("LimitNOFILE="), std::string::npos) << image.error.message;
  }
  std::this_thread::sleep_for(Backoff::kFirst);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Shown().size(), 12u);
}

}  // namespace
}  // namespace chainfs
