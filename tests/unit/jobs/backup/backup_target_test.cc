// SPDX-License-Identifier: Apache-2.0
//
// The target of a backup: a partial name until it is complete, and whose file that is.
#include "jobs/backup/backup_target.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"

namespace chainfs::jobs {
namespace {

using Begun = BackupTarget::Begun;
using Names = std::vector<std::string>;

constexpr uint64_t kSize = 1 << 20;

class BackupTargetTest : public testing::Test {
 protected:
  BackupTargetPlan Plan(ImageFormat format = ImageFormat::kQcow2) const {
    BackupTargetPlan plan;
    plan.format = format;
    plan.place.location = {.directory = directory_, .name = "t", .path = "/mem/t"};
    return plan;
  }
  Result<std::unique_ptr<BackupTarget>> Open(Begun begun, const BackupTargetPlan& plan) {
    return BackupTarget::Open(cache_, plan, "b1", kSize, begun);
  }
  std::unique_ptr<BackupTarget> Opened(Begun begun, const BackupTargetPlan& plan) {
    auto target = Open(begun, plan);
    EXPECT_TRUE(target) << target.error().message;
    return target ? *std::move(target) : nullptr;
  }
  MadeTarget MadeAs(uint64_t inode) {
    return {.file = RecordedFile{.inode = inode}, .forget = [this] {
              ++forgotten_;
              return Status();
            }};
  }
  Names Files() const {
    Names names;
    const auto entries = directory_->List().value();
    for (const DirectoryEntry& entry : entries) names.push_back(entry.name);
    std::ranges::sort(names);
    return names;
  }
  static void Fill(BackupTarget& target) {
    const std::vector<std::byte> data(65536, std::byte{7});
    ASSERT_TRUE(target.image().Write(GuestOffset(65536), data, nullptr));
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::shared_ptr<Directory> directory_ = host_->OpenRoot();
  MetadataCache cache_{1 << 20};
  int forgotten_ = 0;
};

TEST_F(BackupTargetTest, HasItsNameOnlyOnceItIsComplete) {
  for (const ImageFormat format : {ImageFormat::kQcow2, ImageFormat::kRaw}) {
    const auto target = Opened(Begun::kNo, Plan(format));
    ASSERT_NE(target, nullptr);
    EXPECT_FALSE(target->complete());
    EXPECT_EQ(target->image().virtual_size(), kSize);
    EXPECT_EQ(Files(), Names{".t.b1.part"});
    Fill(*target);
    ASSERT_TRUE(target->Complete());
    EXPECT_TRUE(target->complete());
    EXPECT_EQ(Files(), Names{"t"});
    target->Discard();
    EXPECT_EQ(Files(), Names{"t"}) << "it is a backup";
    ASSERT_TRUE(directory_->Remove("t"));
  }
}

TEST_F(BackupTargetTest, AnotherFileOfItsNameIsNotTheOneThatWasMade) {
  uint64_t made = 0;
  {
    const auto target = Opened(Begun::kNo, Plan());
    made = target->file().inode;
    EXPECT_NE(made, 0u);
    ASSERT_TRUE(target->Complete());
  }
  for (const Begun begun : {Begun::kGoOn, Begun::kAnew}) {
    const auto own = BackupTarget::Open(cache_, Plan(), "b1", kSize, begun, MadeAs(made));
    ASSERT_TRUE(own) << own.error().message;
    EXPECT_TRUE((*own)->complete());
    // Of the same format and size; the one before was not made yet when its job ended.
    for (const uint64_t other : {uint64_t{0}, made + 1}) {
      const auto foreign = BackupTarget::Open(cache_, Plan(), "b1", kSize, begun, MadeAs(other));
      ASSERT_FALSE(foreign);
      EXPECT_EQ(foreign.error().kind, ErrorKind::kExists);
      EXPECT_NE(foreign.error().message.find("is another file"), std::string::npos)
          << foreign.error().message;
    }
  }
  EXPECT_EQ(Files(), Names{"t"});
}

TEST_F(BackupTargetTest, IsGoneOnWithByTheNextDaemon) {
  {
    const auto target = Opened(Begun::kNo, Plan());
    Fill(*target);
    ASSERT_TRUE(target->image().Flush());
  }
  const auto again = Opened(Begun::kGoOn, Plan());
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->image().Map(GuestOffset(65536), 65536, MapDetail::kFast)->kind,
            ExtentKind::kData);
  ASSERT_TRUE(again->Complete());
  const auto third = Opened(Begun::kGoOn, Plan());
  ASSERT_NE(third, nullptr);
  EXPECT_TRUE(third->complete());
}

TEST_F(BackupTargetTest, AnotherPartialImageIsNotGoneOnWith) {
  Fill(*Opened(Begun::kNo, Plan()));
  const uint64_t made = directory_->StatAt(".t.b1.part")->id.inode;
  for (const Begun begun : {Begun::kGoOn, Begun::kAnew}) {
    const auto foreign = BackupTarget::Open(cache_, Plan(), "b1", kSize, begun, MadeAs(made + 1));
    ASSERT_FALSE(foreign);
    EXPECT_EQ(foreign.error().kind, ErrorKind::kStale);
    EXPECT_NE(foreign.error().message.find("another file"), std::string::npos);
  }
  EXPECT_EQ(forgotten_, 0);
  EXPECT_TRUE(BackupTarget::Open(cache_, Plan(), "b1", kSize, Begun::kGoOn, MadeAs(made)));
  EXPECT_EQ(forgotten_, 0);
  // What it makes anew is said to be none before it is made; what was made without anybody having
  // noted it is not gone on with.
  EXPECT_TRUE(BackupTarget::Open(cache_, Plan(), "b1", kSize, Begun::kAnew, MadeAs(made)));
  EXPECT_EQ(forgotten_, 1);
  const auto anew = BackupTarget::Open(cache_, Plan(), "b1", kSize, Begun::kGoOn, MadeAs(0));
  ASSERT_TRUE(anew);
  EXPECT_EQ((*anew)->image().Map(GuestOffset(65536), 65536, MapDetail::kFast)->kind,
            ExtentKind::kUnallocated);
  EXPECT_EQ(forgotten_, 1);
}

TEST_F(BackupTargetTest, BeginsAnewForAnotherPointAndWhatItCannotUse) {
  Fill(*Opened(Begun::kNo, Plan()));
  auto anew = Opened(Begun::kAnew, Plan());
  EXPECT_EQ(anew->image().Map(GuestOffset(65536), 65536, MapDetail::kFast)->kind,
            ExtentKind::kUnallocated);
  EXPECT_EQ(Open(Begun::kAnew, Plan()).error().kind, ErrorKind::kBusy) << "somebody fills it";
  anew.reset();
  host_->PutFile(".t.b1.part", std::vector<std::byte>(4096));
  EXPECT_TRUE(Opened(Begun::kGoOn, Plan())) << "half made";
}

TEST_F(BackupTargetTest, LeavesTheFilesOfOthersAlone) {
  host_->PutFile(".t.b1.part", std::vector<std::byte>(10));
  EXPECT_EQ(Open(Begun::kNo, Plan()).error().kind, ErrorKind::kExists);
  ASSERT_TRUE(directory_->Remove(".t.b1.part"));
  const auto target = Opened(Begun::kNo, Plan());
  host_->PutFile("t", std::vector<std::byte>(10, std::byte{1}));
  const Status refused = target->Complete();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kExists);
  EXPECT_EQ(Files(), (Names{".t.b1.part", "t"}));
  ASSERT_TRUE(directory_->Rename("t", "other"));
  ASSERT_TRUE(target->Complete()) << "once it is out of the way";
  EXPECT_EQ(host_->Contents("other").size(), 10u);
  EXPECT_EQ(Open(Begun::kGoOn, Plan(ImageFormat::kRaw)).error().kind, ErrorKind::kExists)
      << "not what that one would have made";
}

TEST_F(BackupTargetTest, DiscardsOnlyItsOwn) {
  const auto target = Opened(Begun::kNo, Plan());
  ASSERT_TRUE(directory_->Remove(".t.b1.part"));
  host_->PutFile(".t.b1.part", std::vector<std::byte>(10));
  EXPECT_EQ(target->Complete().error().kind, ErrorKind::kStale);
  target->Discard();
  EXPECT_EQ(Files(), Names{".t.b1.part"});
  ASSERT_TRUE(directory_->Remove(".t.b1.part"));
  Opened(Begun::kNo, Plan())->Discard();
  EXPECT_EQ(Files(), Names{});
}

TEST_F(BackupTargetTest, RefusesNamesThatGetTooLong) {
  BackupTargetPlan plan = Plan();
  FileLocation& location = plan.place.location;
  location.name = std::string(255 - std::string(".").size() - std::string(".b1.part").size(), 'n');
  location.path = JoinPath(directory_->path(), location.name);
  EXPECT_TRUE(Open(Begun::kNo, plan));
  location.name += 'n';
  location.path += 'n';
  EXPECT_EQ(Open(Begun::kNo, plan).error().kind, ErrorKind::kInvalidArgument);
}

// In no state that a crash leaves does the name lead to anything but the whole backup.
TEST_F(BackupTargetTest, NoCrashShowsHalfOfIt) {
  host_->StartRecording();
  const auto target = Opened(Begun::kNo, Plan());
  Fill(*target);
  ASSERT_TRUE(target->Complete());
  const auto recording = host_->StopRecording();
  size_t seen = 0;
  CrashEnumerator states(recording, {.max_states_per_point = 50});
  states.ForEachState([&](const CrashState& state) {
    const std::shared_ptr<Directory> root = state.MakeHost()->OpenRoot();
    if (!root->StatAt("t")) return true;
    ++seen;
    MetadataCache cache(1 << 20);
    const auto image = FormatRegistry::BuiltIn()
                           .Find(ImageFormat::kQcow2)
                           ->open(root->Open("t", OpenMode::kReadOnly).value(), cache,
                                  {.read_only = true, .owner = cache.NewOwner()});
    EXPECT_TRUE(image) << state.Describe();
    if (!image) return false;
    const auto extent = (*image)->Map(GuestOffset(65536), 65536, MapDetail::kFast);
    EXPECT_TRUE(extent && extent->kind == ExtentKind::kData) << state.Describe();
    return !HasFailure();
  });
  EXPECT_GT(seen, 0u);
}

}  // namespace
}  // namespace chainfs::jobs
