// SPDX-License-Identifier: Apache-2.0
//
// The event file: lines, blocking and not, polling, interruption, the end; and the map, which tells
// what qemu-img tells.
#include <atomic>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

class EventsTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "8M"});
    QemuIo(dir_ / "base.qcow2", "qcow2", {"write -P 1 1M 256k", "write -P 2 6M 1M"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir_ / "vm.qcow2", "qcow2", {"write -P 3 2M 64k", "write -z 6M 128k"});
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
    events_ = *daemon_ / ".chainfs/events";
  }

  const TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
  std::string events_;
};

TEST_F(EventsTest, AReaderWithoutNewsIsTold) {
  const OpenedFile file(events_, O_RDONLY | O_NONBLOCK);
  ASSERT_TRUE(file.valid());
  std::string buffer(65536, '\0');
  while (::read(file.get(), buffer.data(), buffer.size()) > 0) {
  }
  EXPECT_EQ(errno, EAGAIN);
  pollfd waiting = {.fd = file.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  ASSERT_EQ(Order(vm_, "snapshot"), 0) << LastError(vm_);
  EXPECT_EQ(::poll(&waiting, 1, 60'000), 1);
  EXPECT_NE(waiting.revents & POLLIN, 0);
  EXPECT_EQ(::read(file.get(), buffer.data(), 5), -1);  // no whole line fits
  EXPECT_EQ(errno, EINVAL);
  EXPECT_GT(::read(file.get(), buffer.data(), buffer.size()), 0);
  EXPECT_LT(::open(events_.c_str(), O_RDWR), 0);
}

TEST_F(EventsTest, ABlockedReaderGetsTheLines) {
  std::atomic<bool> got = false;
  std::string text;
  std::thread reader([&] {
    const OpenedFile file(events_, O_RDONLY);
    std::string buffer(65536, '\0');
    while (text.find("BLOCK_JOB_COMPLETED") == std::string::npos) {
      const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
      if (size <= 0) break;
      text.append(buffer, 0, static_cast<size_t>(size));
    }
    got = true;
  });
  ASSERT_EQ(Order(vm_, "stream", "id=j"), 0) << LastError(vm_);
  EXPECT_TRUE(Eventually([&] { return got.load(); }));
  if (!got) daemon_->Stop();  // ends the reader
  reader.join();
  EXPECT_TRUE(text.ends_with('\n'));
  // Sequence numbers count, times and names are there; a late reader sees the same.
  Events late(*daemon_);
  const Json completed = late.WaitFor("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(completed.is_null());
  EXPECT_EQ(completed["disk"], "vm");
  EXPECT_EQ(completed["offset"], completed["len"]);
  EXPECT_FALSE(completed.contains("error"));
  uint64_t before = 0;
  std::vector<std::string> states;
  for (const Json& event : late.seen()) {
    EXPECT_GT(event["seq"], before);
    before = event["seq"];
    EXPECT_FALSE(event["time"].get<std::string>().empty());
    if (event["event"] == "JOB_STATUS_CHANGE") states.push_back(event["status"]);
  }
  ASSERT_GE(states.size(), 2u);
  EXPECT_EQ(states[0], "created");
  EXPECT_EQ(states[1], "running");
  EXPECT_FALSE(late.WaitFor("CHAIN_CHANGE").is_null());
}

TEST_F(EventsTest, AParkedReaderCanBeKilled) {
  for (const int signal : {SIGINT, SIGKILL}) {
    Command reader({"cat", events_});
    ASSERT_EQ(Order(vm_, "snapshot"), 0) << LastError(vm_);
    ASSERT_TRUE(reader.WaitForOutput("CHAIN_CHANGE"));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until it is parked again
    reader.Signal(signal);
    EXPECT_EQ(reader.Wait().exit_code, 128 + signal);
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
}

TEST_F(EventsTest, ReadersGetEndOfFileAtTheEnd) {
  std::vector<std::unique_ptr<Command>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(std::make_unique<Command>(std::vector<std::string>{"cat", events_}));
  }
  ASSERT_EQ(Order(vm_, "snapshot"), 0) << LastError(vm_);
  for (const auto& reader : readers) EXPECT_TRUE(reader->WaitForOutput("CHAIN_CHANGE"));
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  for (const auto& reader : readers) {
    const CommandResult result = reader->Wait();
    EXPECT_EQ(result.exit_code, 0) << result.Describe();
    EXPECT_NE(result.out.find("\"SHUTDOWN\""), std::string::npos) << result.out;
  }
}

TEST_F(EventsTest, ProgressIsTold) {
  Random random;
  const TempDir making;
  WriteRandomFile(making / "data.raw", 8 << 20, random);
  MustRun(
      {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "data.raw", dir_ / "big.qcow2"});
  CreateQcow2(dir_ / "top.qcow2", {.backing = "big.qcow2"});
  const std::string top = *daemon_ / "top.raw";
  ASSERT_TRUE(Eventually([&] { return ::access(top.c_str(), F_OK) == 0; }));
  Events events(*daemon_);
  ASSERT_EQ(Order(top, "stream", "id=p,speed=2M"), 0) << LastError(top);
  ASSERT_FALSE(events.WaitFor("BLOCK_JOB_COMPLETED", "p").is_null());
  const Json progress = events.WaitFor("JOB_PROGRESS", "p");
  ASSERT_FALSE(progress.is_null());
  EXPECT_EQ(progress["total-progress"], 8 << 20) << progress.dump();
}

// Runs of data and of zeros, whoever tells of them.
std::vector<std::pair<uint64_t, bool>> DataRuns(const Json& map, uint64_t* end) {
  std::vector<std::pair<uint64_t, bool>> runs;
  *end = 0;
  for (const Json& extent : map) {
    EXPECT_EQ(extent["start"], *end);
    if (runs.empty() || runs.back().second != extent["data"]) {
      runs.emplace_back(extent["start"], extent["data"]);
    }
    *end += extent["length"].get<uint64_t>();
  }
  return runs;
}

TEST_F(EventsTest, TheMapIsQemus) {
  const Json ours = ReadJson(*daemon_ / ".chainfs/map/vm.json");
  const Json theirs =
      Json::parse(MustRun({"qemu-img", "map", "-U", "--output=json", dir_ / "vm.qcow2"}));
  uint64_t our_end = 0;
  uint64_t their_end = 0;
  EXPECT_EQ(DataRuns(ours, &our_end), DataRuns(theirs, &their_end)) << ours.dump(1);
  EXPECT_EQ(our_end, their_end);
  for (const Json& extent : ours) {
    if (!extent["data"]) continue;
    // Depth and place of each piece, as QEMU has them.
    bool found = false;
    for (const Json& other : theirs) {
      found |= other["start"] <= extent["start"] &&
               extent["start"] < other["start"].get<uint64_t>() + other["length"].get<uint64_t>() &&
               other["depth"] == extent["depth"] &&
               extent["offset"].get<uint64_t>() - extent["start"].get<uint64_t>() ==
                   other["offset"].get<uint64_t>() - other["start"].get<uint64_t>();
    }
    EXPECT_TRUE(found) << extent.dump();
    const std::string file = extent["filename"];
    EXPECT_TRUE(file.ends_with(extent["depth"] == 0 ? "/vm.qcow2" : "/base.qcow2")) << file;
  }
}

}  // namespace
}  // namespace chainfs
