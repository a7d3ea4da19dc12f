// SPDX-License-Identifier: Apache-2.0
//
// A virtual machine writes, reads and verifies without a pause while the host snapshots, streams,
// commits, mirrors, backs up and resizes its disk, one after the other. After each operation the
// guest has verified everything, and QEMU's tools find the chain and the points in time as they
// must be; after each round they find the file system sound.
//
// $CHAINFS_VM_ROUNDS is how many rounds (1; ten in the long campaign). Prints how long an operation
// took, and the longest write, read, flush and replacement of a file that the guest has met
// meanwhile.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tests/mount/control.h"
#include "tests/mount/virtual_machine.h"
#include "tests/vm/guest_data.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr uint64_t kMiB = 1 << 20;

std::span<std::byte> Block(std::string& table, uint64_t block) {
  return std::as_writable_bytes(std::span(table))
      .subspan(block * guest::kBlockSize, guest::kBlockSize);
}
std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// Nothing if the table is what all writes up to some number leave, and that number lies between the
// two; else what is wrong.
std::string WrongInTable(const std::string& table, uint64_t at_least, uint64_t at_most) {
  using namespace guest;
  if (table.size() != kTableBlocks * kBlockSize) return "the table has another size";
  std::vector<uint64_t> found;
  for (uint64_t block = 0; block < kTableBlocks; ++block) {
    const auto write = WriteOfBlock(block, Bytes(table).subspan(block * kBlockSize, kBlockSize));
    if (!write) return "nobody wrote what block " + std::to_string(block) + " holds";
    found.push_back(*write);
  }
  const uint64_t last = *std::ranges::max_element(found);
  std::vector<uint64_t> expected(kTableBlocks, 0);
  for (uint64_t number = 1; number <= last; ++number) expected[BlockOfWrite(number)] = number;
  for (uint64_t block = 0; block < kTableBlocks; ++block) {
    if (found[block] == expected[block]) continue;
    return "write " + std::to_string(last) + " is there, but block " + std::to_string(block) +
           " holds write " + std::to_string(found[block]) + ", not " +
           std::to_string(expected[block]);
  }
  if (last >= at_least && last <= at_most) return "";
  return "the last write is " + std::to_string(last) + ", not one from " +
         std::to_string(at_least) + " to " + std::to_string(at_most);
}

class VmTest : public testing::Test {
 protected:
  // base.qcow2: ext4 with the table; vm.qcow2 on it.
  void SetUp() override {
    const TempDir making;
    fs::create_directory(making / "top");
    std::string table(guest::kTableBlocks * guest::kBlockSize, '\0');
    for (uint64_t block = 0; block < guest::kTableBlocks; ++block) {
      guest::FillBlock(block, 0, Block(table, block));
    }
    WriteTextFile(making / (std::string("top/") + guest::kTableName), table);
    MustRun({"mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", making / "top", making / "disk.raw",
             "96M"});
    MustRun({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "disk.raw",
             dir_ / "base.qcow2"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
    daemon_ =
        std::make_unique<Daemon>(Names{dir_.path()}, Names{"-o", "target_dir=" + outside_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "vm.raw";
    vm_ = std::make_unique<VirtualMachine>(disk_);
    ASSERT_TRUE(vm_->running());
    Report("boot", 0);
  }

  uint64_t Written() { return std::strtoull(vm_->Ask("written").c_str(), nullptr, 10); }
  void WaitForWrites(uint64_t count) {
    const uint64_t enough = Written() + count;
    EXPECT_TRUE(Eventually([&] { return Written() >= enough || !vm_->running(); }));
  }
  void Report(const std::string& what, double seconds) {
    std::cout << "round " << round_ << " " << what << ": " << seconds
              << " s; longest in ms: " << vm_->Ask("stalls") << std::endl;
  }

  // An operation under load, and what must hold after it whatever it was: the guest finds all that
  // it has written, and the chain has these layers for us and for QEMU.
  void Operate(const std::string& what, const std::function<void()>& operation,
               const Names& layers) {
    SCOPED_TRACE("round " + std::to_string(round_) + " " + what);
    if (HasFailure()) return;
    WaitForWrites(200);
    vm_->Ask("stalls");
    const auto start = std::chrono::steady_clock::now();
    operation();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    WaitForWrites(50);
    Report(what, took.count());
    EXPECT_EQ(vm_->Ask("verify"), "verified") << daemon_->Log();
    EXPECT_EQ(LayersOf(disk_), layers);
    EXPECT_EQ(LayersByQemu(), layers);
  }
  // As the owner of the images would; what is left there keeps base from being merged into.
  void RemoveUnneeded() {
    for (const Json& layer : ReadJson(*daemon_ / ".chainfs/layers.json")["layers"]) {
      if (!layer.value("needed", true)) fs::remove(layer.value("path", ""));
    }
  }
  void RunJob(const std::string& verb, const std::string& keys) {
    ASSERT_EQ(Order(disk_, verb, "id=j," + keys), 0) << LastError(disk_);
    ExpectGoodEnd();
  }
  void ExpectGoodEnd() {
    const Json job = WaitForJob(disk_, "j");
    EXPECT_FALSE(job.contains("error")) << job.dump() << daemon_->Log();
    EXPECT_EQ(Order(disk_, "dismiss", "id=j"), 0) << LastError(disk_);
    RemoveUnneeded();
  }

  std::string Active() const { return Status(disk_, "info").value("active", ""); }
  std::string ActiveName() const { return fs::path(Active()).filename(); }
  static std::string FormatOf(const std::string& image) {
    return image.ends_with(".raw") ? "raw" : "qcow2";
  }
  Names LayersByQemu() const {
    Names names;
    for (const Json& layer :
         Json::parse(MustRun({"qemu-img", "info", "-U", "--backing-chain", "--output=json", "-f",
                              FormatOf(Active()), Active()}))) {
      names.push_back(fs::path(layer.value("filename", "")).filename());
    }
    return names;
  }

  // Puts a layer on top, and looks at what the frozen one shows.
  void Snapshot(Names& layers) {
    const std::string frozen = Active();
    const uint64_t before = Written();
    ASSERT_EQ(Order(disk_, "snapshot"), 0) << LastError(disk_);
    ExpectPointInTime(frozen, before, Written() + 1);
    layers.insert(layers.begin(), ActiveName());
  }

  // What a machine would find that is switched on with that image: a journal that is replayed, no
  // fault, every file whole, and the table as it was at one moment between two writes.
  void ExpectPointInTime(const std::string& image, uint64_t at_least, uint64_t at_most) {
    const std::string flat = outside_ / "flat";
    MustRun({"qemu-img", "convert", "-U", "-f", FormatOf(image), "-O", "raw", image, flat});
    for (const Names& how : {Names{"-E", "journal_only", "-y"}, Names{"-f", "-p"}}) {
      Names words = {"e2fsck", flat};
      words.insert(words.begin() + 1, how.begin(), how.end());
      const CommandResult replayed = RunCommand(words);
      EXPECT_LE(replayed.exit_code, 1) << image << "\n" << replayed.Describe();
    }
    MustRun({"e2fsck", "-f", "-n", flat});
    const TempDir files;
    MustRun({"debugfs", "-R", "rdump / " + files.path(), flat});
    for (const auto& entry : fs::directory_iterator(files.path())) {
      const std::string name = entry.path().filename();
      if (!name.starts_with('f') || name.ends_with(".tmp")) continue;
      EXPECT_TRUE(guest::IsCheckedFile(Bytes(ReadTextFile(entry.path())))) << image << ": " << name;
    }
    EXPECT_EQ(WrongInTable(ReadTextFile(files / guest::kTableName), at_least, at_most), "")
        << image;
  }

  // While the guest has nothing mounted: the file system, every image, and what QEMU reads.
  void ExpectAllIsSound() {
    EXPECT_EQ(vm_->Ask("rest"), "rests");
    EXPECT_EQ(Order(disk_, "flush"), 0) << LastError(disk_);
    MustRun({"e2fsck", "-f", "-n", disk_});
    for (const std::string& name : LayersOf(disk_)) {
      if (FormatOf(name) == "raw") continue;
      const CommandResult check = RunCommand({"qemu-img", "check", "-U", dir_ / name});
      EXPECT_EQ(check.exit_code, 0) << check.Describe();
    }
    const std::string flat = outside_ / "flat";
    MustRun({"qemu-img", "convert", "-U", "-f", FormatOf(Active()), "-O", "raw", Active(), flat});
    EXPECT_TRUE(SameContents(disk_, flat));
    EXPECT_EQ(vm_->Ask("go"), "goes");
  }

  // In the background at first unless it is `blocking`: a guest like this one may then write faster
  // than the job may copy.
  void Mirror(const std::string& target, bool blocking, const std::string& speed) {
    const std::string mode = blocking ? "write-blocking" : "background";
    ASSERT_EQ(
        Order(disk_, "mirror", "id=j,then=pivot,target=" + target + ",copy-mode=" + mode + speed),
        0)
        << LastError(disk_);
    if (!blocking) {
      WaitForWrites(500);
      // It may have ended by then.
      (void)Order(disk_, "change", "id=j,copy-mode=write-blocking");
    }
    ExpectGoodEnd();
  }

  void Backup(const std::string& target, const std::string& keys) {
    const uint64_t before = Written();
    ASSERT_EQ(Order(disk_, "backup", "id=j,target=" + target + keys), 0) << LastError(disk_);
    const uint64_t after = Written();
    ExpectGoodEnd();
    if (FormatOf(target) == "qcow2") {
      EXPECT_EQ(CheckImage(target), 0);
    }
    ExpectPointInTime(target, before, after + 1);
  }

  void Grow() {
    Operate(
        "resize",
        [&] {
          size_ += 16 * kMiB;
          ASSERT_EQ(Order(disk_, "resize", "size=" + std::to_string(size_)), 0) << LastError(disk_);
          EXPECT_TRUE(vm_->Resize(size_));
          EXPECT_EQ(vm_->Ask("grow " + std::to_string(size_)), "grown to " + std::to_string(size_));
        },
        LayersOf(disk_));
    EXPECT_EQ(Status(disk_, "info")["virtual-size"], size_);
  }

  void Round();

  const TempDir dir_;
  const TempDir outside_;
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
  std::unique_ptr<VirtualMachine> vm_;
  uint64_t size_ = 96 * kMiB;
  int round_ = 0;
};

// Begins and ends with a chain of an image and what it is built on. Formats, modes and the moment
// of growth differ from round to round.
void VmTest::Round() {
  const bool odd = round_ % 2 == 1;
  const std::string erase = odd ? ",delete=yes" : "";
  // So that the guest does a lot while they run.
  const std::string speed = round_ % 3 == 0 ? "" : ",speed=4M";
  Names layers = LayersOf(disk_);
  const std::string base = layers.front();
  const auto snapshot = [&] { Operate("snapshot", [&] { Snapshot(layers); }, layers); };
  const auto job = [&](const std::string& what, const std::string& verb, const std::string& keys) {
    Operate(what, [&] { RunJob(verb, keys); }, layers);
  };
  snapshot();
  snapshot();
  ASSERT_FALSE(HasFailure());
  layers.erase(layers.begin() + 1);
  job("stream", "stream", "base=" + base + erase + speed);
  snapshot();
  snapshot();
  if (!odd) Grow();
  ASSERT_FALSE(HasFailure());
  const std::string commit = "top=" + layers[1] + ",base=" + layers[2] + erase + speed;
  layers.erase(layers.begin() + 1);
  job("commit of a layer in the middle", "commit", commit);
  layers.erase(layers.begin(), layers.begin() + 2);
  job("commit of the active layer", "commit", "base=" + base + erase + speed);
  const std::string copy = "copy" + std::to_string(round_) + (odd ? ".raw" : ".qcow2");
  layers = {copy};
  Operate("mirror with pivot", [&] { Mirror(copy, odd, speed); }, layers);
  Operate(
      "backup",
      [&] {
        if (odd) {
          Backup(outside_ / "backup.qcow2", ",compress=zstd" + speed);
        } else {
          Backup(outside_ / "backup.raw", speed);
        }
      },
      layers);
  if (odd) Grow();
  ExpectAllIsSound();
  for (const auto& entry : fs::directory_iterator(outside_.path())) fs::remove(entry.path());
}

// The judge of points in time finds a write that is lost, and one that came too early.
TEST(VmTableTest, IsOfOneMoment) {
  constexpr uint64_t kWrites = 5000;
  const auto table_of = [](uint64_t writes, uint64_t without) {
    std::vector<uint64_t> numbers(guest::kTableBlocks, 0);
    for (uint64_t number = 1; number <= writes; ++number) {
      if (number != without) numbers[guest::BlockOfWrite(number)] = number;
    }
    std::string table(guest::kTableBlocks * guest::kBlockSize, '\0');
    for (uint64_t block = 0; block < guest::kTableBlocks; ++block) {
      guest::FillBlock(block, numbers[block], Block(table, block));
    }
    return table;
  };
  EXPECT_EQ(WrongInTable(table_of(kWrites, 0), kWrites, kWrites), "");
  EXPECT_NE(WrongInTable(table_of(kWrites, 0), 0, kWrites - 1), "");
  EXPECT_NE(WrongInTable(table_of(kWrites, 0), kWrites + 1, kWrites + 2), "");
  EXPECT_NE(WrongInTable(table_of(kWrites, kWrites - 1), 0, kWrites), "");
  std::string torn = table_of(kWrites, 0);
  torn[guest::kBlockSize * 3 + 600] ^= 1;
  EXPECT_NE(WrongInTable(torn, 0, kWrites), "");
}

TEST_F(VmTest, LivesThroughEveryOperation) {
  const char* const wanted = std::getenv("CHAINFS_VM_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 1;
  for (round_ = 1; round_ <= rounds; ++round_) {
    ASSERT_NO_FATAL_FAILURE(Round());
    ASSERT_FALSE(HasFailure()) << daemon_->Log();
  }
  const CommandResult result = vm_->End();
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  const std::string active = Active();
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  // The image alone holds a sound file system.
  fs::rename(active, outside_ / "alone");
  Flatten(outside_ / "alone", FormatOf(active), outside_ / "flat");
  MustRun({"e2fsck", "-f", "-n", outside_ / "flat"});
}

}  // namespace
}  // namespace chainfs
