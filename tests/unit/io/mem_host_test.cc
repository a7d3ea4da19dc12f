// SPDX-License-Identifier: Apache-2.0
//
// The in-memory host behaves like the real one, and its faults and recordings do what they say.
#include <gtest/gtest.h>

#include <thread>

#include "blocklayer/io/posix.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

std::vector<std::byte> Bytes(size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

std::vector<std::byte> ReadAll(File& file) {
  std::vector<std::byte> data(file.Size().value());
  EXPECT_EQ(file.ReadAt(HostOffset(0), data).value(), data.size());
  return data;
}

// The same random operations on both hosts must have the same effect.
TEST(MemHost, DoesWhatTheRealHostDoes) {
  TempDir temp;
  const auto host = MemHost::Create();
  const auto real_directory = OpenPosixDirectory(temp.path()).value();
  const auto mem_directory = host->OpenRoot();
  const auto real = real_directory->Create("f", 0600).value();
  const auto mem = mem_directory->Create("f", 0600).value();
  Random random;
  for (int step = 0; step < 400; ++step) {
    const HostOffset offset(random.Below(300000));
    const uint64_t length = random.Below(70000);
    std::vector<std::byte> data(length);
    random.Fill(data);
    const auto both = [&](const auto& action) {
      const bool a = action(*real).has_value();
      const bool b = action(*mem).has_value();
      EXPECT_EQ(a, b);
    };
    switch (random.Below(5)) {
      case 0:
        both([&](File& file) { return file.Truncate(offset.value); });
        break;
      case 1:
        both([&](File& file) { return file.PunchHole(offset, length); });
        break;
      case 2:
        both([&](File& file) { return file.ZeroRange(offset, length); });
        break;
      default:
        both([&](File& file) { return file.WriteAt(offset, data); });
        break;
    }
    ASSERT_EQ(ReadAll(*real), ReadAll(*mem)) << "step " << step;
    std::vector<std::byte> left(length, std::byte{7});
    std::vector<std::byte> right(length, std::byte{7});
    ASSERT_EQ(real->ReadAt(offset, left).value(), mem->ReadAt(offset, right).value());
    ASSERT_EQ(left, right);
  }
}

TEST(MemHost, RunsCoverTheFile) {
  const auto host = MemHost::Create();
  const auto file = host->OpenRoot()->Create("f", 0600).value();
  ASSERT_TRUE(file->Truncate(10 << 20));
  ASSERT_TRUE(file->WriteAt(HostOffset(8192), Bytes(4096, 1)));
  ASSERT_TRUE(file->WriteAt(HostOffset(9 << 20), Bytes(100, 1)));
  EXPECT_EQ(file->RunAt(HostOffset(0))->length, 8192u);
  EXPECT_TRUE(file->RunAt(HostOffset(8192))->is_data);
  EXPECT_EQ(file->RunAt(HostOffset(8193))->length, 4095u);
  const DataRun hole = file->RunAt(HostOffset(12288)).value();
  EXPECT_FALSE(hole.is_data);
  EXPECT_EQ(hole.length, (9u << 20) - 12288);
  EXPECT_EQ(file->RunAt(HostOffset(10 << 20))->length, UINT64_MAX - (10u << 20));
  EXPECT_EQ(file->Stat()->allocated_bytes, 8192u);
}

TEST(MemHost, NamesStayBeneathAndSurviveOpenFiles) {
  const auto host = MemHost::Create();
  const auto root = host->OpenRoot();
  EXPECT_EQ(root->path(), "/mem");
  ASSERT_TRUE(root->MakeDirectory("sub", 0755));
  ASSERT_TRUE(root->WriteFileAtomically("a", "text"));
  EXPECT_EQ(root->ReadSmallFile("sub/../a").value(), "text");
  EXPECT_EQ(root->Open("../a", OpenMode::kReadOnly).error().kind, ErrorKind::kAccess);
  EXPECT_EQ(root->Open("/a", OpenMode::kReadOnly).error().kind, ErrorKind::kAccess);
  EXPECT_EQ(root->Open("b", OpenMode::kReadOnly).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(root->Open("sub", OpenMode::kReadOnly).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(root->Create("a", 0600).error().kind, ErrorKind::kExists);
  const auto sub = root->OpenDirectory("sub").value();
  EXPECT_EQ(sub->path(), "/mem/sub");
  EXPECT_EQ(sub->Open("../a", OpenMode::kReadOnly).error().kind, ErrorKind::kAccess);
  const auto open = root->Open("a", OpenMode::kReadOnly).value();
  EXPECT_EQ(host->OpenFiles(), 1u);
  ASSERT_TRUE(root->Rename("a", "sub/b"));
  ASSERT_TRUE(sub->Remove("b"));
  EXPECT_EQ(ReadAll(*open).size(), 4u);
  EXPECT_EQ(root->List()->size(), 1u);
}

TEST(MemHost, RenameNewReplacesNothing) {
  const auto root = MemHost::Create()->OpenRoot();
  ASSERT_TRUE(root->Create("a", 0600));
  ASSERT_TRUE(root->Create("b", 0600));
  EXPECT_EQ(root->RenameNew("a", "b").error().kind, ErrorKind::kExists);
  ASSERT_TRUE(root->RenameNew("a", "c"));
  EXPECT_EQ(root->List()->size(), 2u);
}

TEST(MemHost, FaultsStrikeWhereTold) {
  const auto host = MemHost::Create();
  const auto file = host->OpenRoot()->Create("f", 0600).value();
  const size_t once =
      host->AddFault({.matches = On(HostOp::kWrite, "f"), .skip = 1, .error = ENOSPC});
  EXPECT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 1)));
  const Status failed = file->WriteAt(HostOffset(512), Bytes(512, 1));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(file->Size().value(), 512u);
  EXPECT_TRUE(file->WriteAt(HostOffset(512), Bytes(512, 1)));
  EXPECT_EQ(host->FaultHits(once), 1u);
  EXPECT_EQ(host->FaultCalls(once), 3u);

  host->AddFault({.matches = On(HostOp::kRead), .forever = true});
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(file->ReadAt(HostOffset(0), std::span<std::byte>()));
  host->ClearFaults();

  host->AddFault({.matches = On(HostOp::kWrite), .landed = 700});
  EXPECT_FALSE(file->WriteAt(HostOffset(0), Bytes(1024, 2)));
  const std::vector<std::byte> contents = host->Contents("f");
  EXPECT_EQ(std::vector(contents.begin(), contents.begin() + 700), Bytes(700, 2));
  EXPECT_EQ(contents[700], std::byte{1});
}

TEST(MemHost, AFailedSyncPoisonsAndMayDropData) {
  for (const bool drop : {false, true}) {
    const auto host = MemHost::Create();
    const auto file = host->OpenRoot()->Create("f", 0600).value();
    ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 1)));
    ASSERT_TRUE(file->DataSync());
    ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(1024, 2)));
    host->AddFault({.matches = On(HostOp::kDataSync), .drop_unsynced = drop});
    EXPECT_FALSE(file->DataSync());
    EXPECT_TRUE(file->poisoned());
    EXPECT_FALSE(file->DataSync());
    EXPECT_EQ(file->Size().value(), 1024u);
    EXPECT_EQ(host->Contents("f")[0], drop ? std::byte{1} : std::byte{2});
    EXPECT_EQ(host->Contents("f")[600], drop ? std::byte{0} : std::byte{2});
  }
}

TEST(MemHost, CapacityRunsOutAndComesBack) {
  const auto host = MemHost::Create({.capacity = 8192});
  const auto file = host->OpenRoot()->Create("f", 0600).value();
  EXPECT_TRUE(file->WriteAt(HostOffset(0), Bytes(8192, 1)));
  EXPECT_EQ(file->WriteAt(HostOffset(8192), Bytes(1, 1)).error().kind, ErrorKind::kNoSpace);
  EXPECT_TRUE(file->WriteAt(HostOffset(0), Bytes(8192, 2)));
  EXPECT_TRUE(file->PunchHole(HostOffset(0), 4096));
  EXPECT_TRUE(file->WriteAt(HostOffset(8192), Bytes(1, 1)));
}

TEST(MemHost, TheHookCanHoldACall) {
  const auto host = MemHost::Create();
  const auto file = host->OpenRoot()->Create("f", 0600).value();
  Mutex mutex;
  CondVar changed;
  bool held = false;
  bool go = false;
  host->SetHook([&](const HostCall& call) {
    if (call.op != HostOp::kWrite) return 0;
    const MutexLock lock(mutex);
    held = true;
    changed.NotifyAll();
    while (!go) changed.Wait(mutex);
    return 0;
  });
  std::thread writer([&] { EXPECT_TRUE(file->WriteAt(HostOffset(0), Bytes(1, 1))); });
  {
    const MutexLock lock(mutex);
    while (!held) changed.Wait(mutex);
  }
  EXPECT_EQ(file->Size().value(), 0u);
  {
    const MutexLock lock(mutex);
    go = true;
    changed.NotifyAll();
  }
  writer.join();
  EXPECT_EQ(file->Size().value(), 1u);
}

TEST(MemHost, RecordsInOrder) {
  const auto host = MemHost::Create();
  const auto root = host->OpenRoot();
  host->StartRecording();
  const auto file = root->Create("f", 0600).value();
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(512, 1)));
  EXPECT_EQ(host->Mark("guest flush begins"), 2u);
  ASSERT_TRUE(file->DataSync());
  ASSERT_TRUE(root->Rename("f", "g"));
  ASSERT_TRUE(root->Sync());
  EXPECT_EQ(host->EventCount(), 6u);
  const auto recording = host->StopRecording();
  std::string ops;
  for (const HostEvent& event : recording->events) ops += std::string(HostOpName(event.op)) + ' ';
  EXPECT_EQ(ops, "create write mark datasync rename dirsync ");
  EXPECT_NE(recording->Describe().find("write f 0x0+0x200"), std::string::npos);
}

TEST(MemHost, ExportsAndImports) {
  TempDir temp;
  const auto host = MemHost::Create();
  ASSERT_TRUE(host->OpenRoot()->MakeDirectory("sub", 0755));
  const auto file = host->OpenRoot()->Create("sub/f", 0600).value();
  ASSERT_TRUE(file->WriteAt(HostOffset(5 << 20), Bytes(10000, 3)));
  ASSERT_TRUE(file->Truncate(64 << 20));
  ASSERT_TRUE(host->ExportTo(temp.path()));
  const auto back = MemHost::Create();
  ASSERT_TRUE(back->ImportFrom(temp.path()));
  EXPECT_EQ(back->Snapshot().Hash(), host->Snapshot().Hash());
  EXPECT_LT(back->AllocatedBytes(), 1u << 20);
  const auto real = OpenPosixDirectory(temp.path()).value()->Open("sub/f", OpenMode::kReadOnly);
  EXPECT_LT((*real)->Stat()->allocated_bytes, 1u << 20);
}

TEST(SparseBytes, SnapshotsDoNotChange) {
  SparseBytes bytes;
  bytes.Write(1 << 20, Bytes(100000, 1));
  const SparseBytes before = bytes;
  const uint64_t hash = before.Hash();
  bytes.Write((1 << 20) + 5, Bytes(10, 2));
  bytes.Clear(1 << 20, 4096);
  EXPECT_EQ(before.Hash(), hash);
  EXPECT_NE(bytes.Hash(), hash);
  bytes = before;
  bytes.Write(0, Bytes(4096, 0));
  EXPECT_TRUE(bytes.SameAs(before)) << "a page of zeros is as good as a hole";
  bytes.Resize((1 << 20) + 1);
  bytes.Resize(1 << 21);
  std::vector<std::byte> tail(100);
  bytes.Read((1 << 20) + 1, tail);
  EXPECT_TRUE(IsZero(tail));
}

}  // namespace
}  // namespace chainfs
