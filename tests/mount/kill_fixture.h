// SPDX-License-Identifier: Apache-2.0
//
// What the tests have in common that kill the daemon (SIGKILL) at random moments of what is done to
// a disk. Guests write to that disk, "vm", and to another one, "two", which shares a base with it.
// After each kill plain QEMU opens both by what their records say, finds at most leaks, every
// sector holds its last flushed value or a later one, and the shared base is what it was, byte for
// byte. The next daemon, which is sometimes killed at once, too, goes on by itself, and ends what
// had been begun. Some daemons are only told to leave (SIGTERM), or lose their mount (umount(2), at
// once or lazily, fusermount3): they leave soon, whatever they are doing, and nothing is lost that
// a guest has written.
//
// $CHAINFS_KILLS is how many kills of each kind must come before the end of what they are to
// interrupt (2; 50 and more in a long campaign), $CHAINFS_UNMOUNTS how many unmounts come after
// them (1).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>

#include "tests/mount/control.h"
#include "tests/mount/kill_moments.h"
#include "tests/mount/stamped_writer.h"

namespace chainfs {

class KillFixture : public testing::Test {
 protected:
  using Names = std::vector<std::string>;
  static constexpr uint64_t kSectors = 16384;  // 8 MiB
  static constexpr const char* kShared = "shared.qcow2";

  // What is done to vm when the daemon is killed.
  struct Attempt {
    std::string what;  // for people
    // Gives the command, from a thread of its own: 0 or the errno.
    std::function<int()> command;
    // It has a speed limit.
    bool slow = false;
    // Whether guests may write before the command has returned, and beside the next daemon.
    bool guests_before = true;
    bool guests_after = true;
    // Layers of vm at the end; empty: whoever makes the attempt looks for himself.
    Names layers_after = {};
    // More that must hold of what the killed daemon has left; looks at files alone. The flats are
    // those of flat().
    std::function<void(bool accepted)> left = {};
    // With the next daemon, before what it has taken up is waited for.
    std::function<void()> resumed = {};
    // At the end; `begun`: the command was accepted or had a record.
    std::function<void(bool begun)> done = {};
  };

  // A disk that guests write to.
  struct Used {
    std::string name;
    SectorModel model{1, kSectors};
    std::string flat = {};  // as ExpectSound has found it
  };

  static int Wanted(const char* variable, int otherwise) {
    const char* const wanted = std::getenv(variable);
    return wanted != nullptr ? std::atoi(wanted) : otherwise;
  }
  static int WantedKills() { return Wanted("CHAINFS_KILLS", 2); }

  void SetUp() override { MakeScene(); }

  // Options of the daemons from now on.
  void SetOptions(std::vector<std::string> options) {
    options_ = std::move(options);
    ASSERT_TRUE(daemon_->Stop().exit_code == 0 && daemon_->Restart(options_)) << daemon_->Log();
  }

  std::string disk() const { return *daemon_ / "vm.raw"; }
  Daemon& daemon() const { return *daemon_; }
  const std::string& root() const { return daemon_->path(); }
  std::string At(const std::string& image) const { return dir_ / image; }
  const std::string& flat() const { return vm_.flat; }
  std::string NewId() { return "j" + std::to_string(++ids_); }

  // Makes and kills until enough of what `next` gives was interrupted.
  // `length`: a guess at how long that takes without a limit of speed.
  void KillAtRandomMoments(KillMoments::Time length, const std::function<Attempt()>& next) {
    moments_ = KillMoments(length);
    const int kills = WantedKills();
    int unfinished = 0;
    int all = 0;
    for (; unfinished < kills && all < 10 * kills; ++all) {
      const Way way = random_.OneIn(6) ? Way::kTold : Way::kKilled;
      ASSERT_NO_FATAL_FAILURE(EndDuring(next, way, &unfinished));
    }
    EXPECT_EQ(unfinished, kills) << "it ends too early";
    for (int unmounts = Wanted("CHAINFS_UNMOUNTS", 1); unmounts > 0; --unmounts) {
      constexpr std::array kWays = {Way::kUnmounted, Way::kDetached, Way::kByFusermount};
      ASSERT_NO_FATAL_FAILURE(EndDuring(next, kWays[random_.Below(kWays.size())], nullptr));
    }
    std::cout << "[   INFO   ] " << unfinished << " kills before the end, of " << all
              << "; the longest that a daemon needed to leave: "
              << std::chrono::duration_cast<std::chrono::milliseconds>(longest_leave_).count()
              << " ms\n";
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    ExpectSound();
  }

  // Limits are kept, and may be lifted; what is ready waits for its word.
  void WaitForEnd() {
    Json jobs;
    const bool ended = Eventually([&] {
      jobs = Status(root(), "jobs");
      bool all = jobs.is_array() && Records("job-").empty();
      for (const Json& job : jobs) {
        const std::string status = job.value("status", "");
        if (status == "concluded") continue;
        all = false;
        const std::string id = "id=" + job.value("id", "");
        (void)Order(root(), "speed", id + ",limit=0");
        if (status == "ready") (void)Order(root(), "complete", id);
      }
      return all;
    });
    EXPECT_TRUE(ended) << "does not end: " << jobs.dump();
    for (const Json& job : jobs) EXPECT_FALSE(job.contains("error")) << job.dump();
  }

  // Asks nobody but QEMU, and takes what it finds as the truth from now on.
  void ExpectSound() {
    for (Used* used : {&vm_, &two_}) {
      ASSERT_NO_FATAL_FAILURE(ExpectSound(*used)) << used->name;
    }
    EXPECT_EQ(ReadTextFile(At(kShared)), shared_) << "an image that nothing may change";
  }

  // The active layer by the record, as the next daemon finds it.
  std::string Active(const std::string& name = "vm") const {
    const Json record = Record(name);
    if (!record.is_object()) return name + ".qcow2";
    const std::string group = record.value("group", "");
    const bool decided =
        !group.empty() && std::filesystem::exists(dir_ / (".chainfs/group-" + group));
    return record.value(decided ? "next" : "active", "");
  }
  Json Record(const std::string& name = "vm") const {
    const std::string path = dir_ / (".chainfs/chain-" + name);
    return std::filesystem::exists(path) ? Json::parse(ReadTextFile(path)) : Json();
  }
  // Of records, those whose names begin so. An empty one is the name of a job that was never
  // accepted; a later mount removes it.
  Names Records(const std::string& prefix) const {
    Names names;
    if (!std::filesystem::exists(dir_ / ".chainfs")) return names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / ".chainfs")) {
      const std::string name = entry.path().filename();
      std::error_code gone;  // a daemon that runs may remove it meanwhile
      const uintmax_t size = entry.file_size(gone);
      if (name.starts_with(prefix) && !gone && size != 0) names.push_back(name);
    }
    return names;
  }
  // What QEMU shows of an image, also beside a daemon.
  std::string FlatOf(const std::string& image) const {
    MustRun({"qemu-img", "convert", "-U", "-f", FormatOfImage(image), "-O", "raw", At(image),
             outside_ / "flat"});
    return ReadTextFile(outside_ / "flat");
  }

  // Makes vm so deep by snapshots, with something in each layer.
  void AddLayers(size_t layers) {
    while (LayersOf(disk()).size() < layers) {
      StampedWriter guest(disk(), vm_.model, random_.Fork());
      guest.WaitForMore(80);
      EXPECT_EQ(guest.Stop(), 0);
      // Small clusters: a guest's writes must not leave the next job without work.
      ASSERT_EQ(Order(disk(), "snapshot", "cluster_size=4k"), 0) << LastError(disk());
    }
  }
  // How many layers of vm are there for it alone: all but the shared base.
  static size_t CountOwn(const Names& layers) {
    return layers.size() - (layers.back() == kShared ? 1 : 0);
  }

  // Reads a disk of the mount past the page cache; nothing if it is not there (any more).
  std::optional<std::string> TryRead(const std::string& name) const {
    const OpenedFile file(*daemon_ / name, O_RDONLY | O_DIRECT);
    constexpr size_t kSize = kSectors * kStampSize;
    const std::unique_ptr<char, decltype(&std::free)> bytes(
        static_cast<char*>(std::aligned_alloc(4096, kSize)), &std::free);
    for (size_t done = 0; done < kSize;) {
      const ssize_t got =
          ::pread(file.get(), bytes.get() + done, kSize - done, static_cast<off_t>(done));
      if (got <= 0) return std::nullopt;
      done += static_cast<size_t>(got);
    }
    return std::string(bytes.get(), kSize);
  }
  static std::span<const std::byte> BytesOf(const std::string& text) {
    return std::as_bytes(std::span(text));
  }
  // What `disk` of the mount shows is what its guests have written.
  void ExpectWritten(Used& used) {
    const uint64_t begin = used.model.BeginRead();
    const std::optional<std::string> bytes = TryRead(used.name + ".raw");
    ASSERT_TRUE(bytes) << used.name << ": " << std::strerror(errno);
    EXPECT_EQ(used.model.CheckRead(begin, 0, BytesOf(*bytes)), "") << used.name;
  }

  Random random_;
  Used vm_{.name = "vm"};
  Used two_{.name = "two"};
  // Those that were there when the command was given.
  Names before_;

 private:
  // New images: vm on the shared base, or on a raw one of its own.
  void MakeScene() {
    if (daemon_ != nullptr) {
      ASSERT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    }
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      std::filesystem::remove_all(entry.path());
    }
    for (Used* used : {&vm_, &two_}) {
      used->model.AcceptAsDurable(0, std::vector<std::byte>(kSectors * kStampSize));
    }
    MakeStampedChain(dir_.path(), {kShared}, vm_.model, random_);
    shared_ = ReadTextFile(At(kShared));
    // What two writes has other stamps than the base, whose it shows, too.
    std::vector<std::byte> unused(kSectors * kStampSize);
    two_.model.Preload(0, unused);
    two_.model.AcceptAsDurable(0, BytesOf(FlatOf(kShared)));
    MakeStampedChain(dir_.path(), {"two.qcow2"}, two_.model, random_, kShared);
    if (random_.OneIn(3)) {
      vm_.model.AcceptAsDurable(0, std::vector<std::byte>(kSectors * kStampSize));
      MakeStampedChain(dir_.path(), {"base.raw", "vm.qcow2"}, vm_.model, random_);
    } else {
      MakeStampedChain(dir_.path(), {"base.qcow2", "vm.qcow2"}, vm_.model, random_, kShared);
    }
    if (daemon_ == nullptr) {
      daemon_ = std::make_unique<Daemon>(Names{dir_.path()}, options_);
    } else {
      daemon_->Restart();
    }
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
  }

  // Images that no chain has any more go; what has got too deep, or has lost its base, is replaced.
  void Tidy() {
    constexpr size_t kDeep = 7;
    Names kept = LayersOf(disk());
    if (kept.size() > kDeep || LayersOf(*daemon_ / "two.raw").size() > kDeep ||
        (kept.back() != kShared && kept.back() != "base.raw") || random_.OneIn(12)) {
      return MakeScene();
    }
    for (const std::string& layer : LayersOf(*daemon_ / "two.raw")) kept.push_back(layer);
    for (const std::string& name : ImagesThere()) {
      if (std::ranges::find(kept, name) == kept.end()) std::filesystem::remove(At(name));
    }
  }
  Names ImagesThere() const {
    Names names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.is_regular_file()) names.push_back(entry.path().filename());
    }
    return names;
  }

  // How a daemon ends.
  enum class Way : uint8_t { kKilled, kTold, kUnmounted, kDetached, kByFusermount };
  static std::string NameOf(Way way) {
    constexpr std::array kNames = {"killed", "told to leave", "unmounted", "unmounted lazily",
                                   "unmounted by fusermount3"};
    return kNames[static_cast<size_t>(way)];
  }

  // `unfinished`, unless null, counts what was killed before its end.
  void EndDuring(const std::function<Attempt()>& next, Way way, int* unfinished) {
    ASSERT_NO_FATAL_FAILURE(Tidy());
    const Attempt attempt = next();
    SCOPED_TRACE(NameOf(way) + ": " + attempt.what);
    before_ = LayersOf(disk());
    const bool early = LeaveDuring(attempt, way);
    if (unfinished != nullptr && way == Way::kKilled && early) ++*unfinished;
    if (!HasFailure()) GoesOnByItself(attempt);
    ASSERT_FALSE(HasFailure()) << "layers before: " << testing::PrintToString(before_) << "\n"
                               << daemon_->Log();
  }

  // Whether what was attempted was not at its end yet.
  bool LeaveDuring(const Attempt& attempt, Way way) {
    std::array<std::unique_ptr<StampedWriter>, 3> guests;
    for (size_t i = 0; i < guests.size(); ++i) {
      Used& used = i == 0 ? two_ : vm_;
      guests[i] = std::make_unique<StampedWriter>(*daemon_ / (used.name + ".raw"), used.model,
                                                  random_.Fork());
    }
    guests[1]->WaitForMore(20);
    if (!attempt.guests_before) {
      for (const size_t i : {1u, 2u}) guests[i]->Hold();
    }
    std::atomic<int> answer = -1;
    std::thread commander([&] {
      answer = attempt.command();
      if (!attempt.guests_before) {
        for (const size_t i : {1u, 2u}) guests[i]->Go();
      }
    });
    KillMoments& moments = attempt.slow ? slow_moments_ : moments_;
    std::this_thread::sleep_for(moments.Next(random_));
    if (way == Way::kKilled) {
      daemon_->KillHard();
    } else if (way == Way::kTold) {
      SendAway();
    } else {
      if (way == Way::kDetached) Detach();
      for (const auto& guest : guests) EXPECT_EQ(guest->Stop(), 0);
      if (way != Way::kDetached) Unmount(way);
    }
    commander.join();
    if (way == Way::kKilled || way == Way::kTold) {
      for (const auto& guest : guests) EXPECT_NE(guest->WaitForFailure(), 0);
    } else {
      ExpectLeavesSoon();
      // The command may have come too late, and met what lies below the mount.
      if (::removexattr(root().c_str(), "user.chainfs.snapshot") == 0) answer = ENOENT;
    }
    begun_ = accepted_ = answer == 0;
    EXPECT_TRUE(accepted_ || MayBeAnswered(answer, way)) << "refused: " << std::strerror(answer);
    const bool unfinished = !accepted_ || !Records("job-").empty();
    moments.Met(unfinished);
    orderly_ = way != Way::kKilled;
    ExpectLeft(attempt);
    orderly_ = false;
    return unfinished;
  }

  // By a daemon that ends so meanwhile.
  static bool MayBeAnswered(int error, Way way) {
    if (way == Way::kKilled) return error == ENOTCONN || error == ECONNABORTED;
    if (way == Way::kTold) return error == ENOTCONN || error == ECONNABORTED || error == ESHUTDOWN;
    return error == ENOENT || error == ESHUTDOWN;
  }

  void SendAway() {
    ::kill(daemon_->pid(), SIGTERM);
    ExpectLeavesSoon();
  }
  // Guests that have the disk open go on.
  void Detach() {
    EXPECT_EQ(::umount2(root().c_str(), MNT_DETACH), 0) << std::strerror(errno);
    std::this_thread::sleep_for(moments_.Next(random_));
  }
  // As soon as nobody uses it: the command may be under way.
  void Unmount(Way way) {
    EXPECT_TRUE(Eventually([&] {
      if (way == Way::kUnmounted) return ::umount2(root().c_str(), 0) == 0;
      return RunCommand({"fusermount3", "-u", root()}).ok();
    }));
  }
  // A mount that another mount namespace has got meanwhile does not go before that does.
  void ExpectLeavesSoon() {
    constexpr std::chrono::seconds kSoon{30};
    const auto begin = std::chrono::steady_clock::now();
    if (!daemon_->EndsWithin(kSoon)) {
      ADD_FAILURE() << "the daemon does not leave\n" << daemon_->Log();
      return daemon_->KillHard();
    }
    EXPECT_EQ(daemon_->WaitForEnd().exit_code, 0) << daemon_->Log();
    longest_leave_ = std::max(longest_leave_, std::chrono::steady_clock::now() - begin);
  }

  void ExpectLeft(const Attempt& attempt) {
    begun_ = begun_ || accepted_ || !Records("job-").empty();
    ExpectSound();
    if (!HasFailure() && attempt.left) attempt.left(accepted_);
  }

  void ExpectSound(Used& used) {
    const std::string active = Active(used.name);
    Names chain = {active};
    const Json layers = Json::parse(MustRun({"qemu-img", "info", "--backing-chain", "-f",
                                             FormatOfImage(active), "--output=json", At(active)}),
                                    nullptr, false);
    ASSERT_TRUE(layers.is_array()) << active;
    for (const Json& layer : layers) {
      if (layer.value("format", "") != "qcow2") continue;
      const std::string path = layer.value("filename", "");
      const int check = CheckImage(path, /*leaks_expected=*/true);
      EXPECT_TRUE(check == 0 || check == 3) << path << ": exit code " << check;
    }
    used.flat = FlatOf(active);
    constexpr size_t kSize = kSectors * kStampSize;
    ASSERT_GE(used.flat.size(), kSize);
    const std::span<const std::byte> bytes = BytesOf(used.flat);
    if (orderly_) {
      ASSERT_EQ(used.model.CheckRead(used.model.BeginRead(), 0, bytes.first(kSize)), "")
          << "after an orderly end";
    }
    ASSERT_EQ(used.model.CheckCrash(UINT64_MAX, 0, bytes.first(kSize)), "");
    EXPECT_TRUE(IsZero(bytes.subspan(kSize))) << "what was grown";
    used.model.AcceptAsDurable(0, bytes.first(kSize));
  }

  void GoesOnByItself(const Attempt& attempt) {
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    if (random_.OneIn(3)) {
      std::this_thread::sleep_for(moments_.Next(random_));
      daemon_->KillHard();
      ExpectLeft(attempt);
      if (HasFailure()) return;
      ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    }
    if (attempt.resumed) attempt.resumed();
    {
      std::unique_ptr<StampedWriter> guest;
      if (attempt.guests_after && random_.OneIn(2)) {
        guest = std::make_unique<StampedWriter>(disk(), vm_.model, random_.Fork());
      }
      WaitForEnd();
      if (guest != nullptr) {
        EXPECT_EQ(guest->Stop(), 0);
      }
    }
    const Names layers = LayersOf(disk());
    if (!attempt.layers_after.empty() && (begun_ || layers != before_)) {
      EXPECT_EQ(layers, attempt.layers_after);
    }
    if (attempt.done) attempt.done(begun_);
    // Layers that were merged stay marked; nothing else stays that no chain needs.
    for (const std::string& record : Records("")) {
      // What was being written when the daemon was killed goes once it is a minute old.
      const bool unfinished = record.starts_with('.') && record.ends_with(".tmp");
      // So does a job's claim to its name, which is empty, and with it what is the job's.
      const bool claimed = record.starts_with("target-") &&
                           std::filesystem::exists(At(".chainfs/job-" + record.substr(7)));
      EXPECT_TRUE(record.starts_with("chain-") || record.starts_with("merged-") || unfinished ||
                  claimed)
          << record;
    }
    ExpectWritten(vm_);
    ExpectWritten(two_);
  }

  const TempDir dir_;
  const TempDir outside_;
  std::string shared_;
  std::vector<std::string> options_;
  std::unique_ptr<Daemon> daemon_;
  KillMoments moments_{std::chrono::milliseconds(100)};
  KillMoments slow_moments_{std::chrono::milliseconds(1000)};
  std::chrono::steady_clock::duration longest_leave_ = {};
  int ids_ = 0;
  bool orderly_ = false;  // how the last daemon has ended
  bool accepted_ = false;
  bool begun_ = false;
};

}  // namespace chainfs
