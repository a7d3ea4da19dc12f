// SPDX-License-Identifier: Apache-2.0
//
// What one program writes is what every other one reads next, whichever ways both go in: page
// cache, O_DIRECT (also asynchronous), mappings, sendfile, loop devices; in any order of opening,
// and by openers that come and go. Every check is of a value. Also run on older kernels, see
// tests/guest.
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"

namespace chainfs {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kDiskSize = 8 << 20;

int Wanted(const char* variable, int otherwise) {
  const char* const wanted = std::getenv(variable);
  return wanted != nullptr ? std::atoi(wanted) : otherwise;
}

struct alignas(kPage) Page {
  std::array<unsigned char, kPage> bytes;
  explicit Page(unsigned char value = 0) { bytes.fill(value); }
};

// An open file that direct I/O can be done on: whole pages only.
class Opened {
 public:
  Opened(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    EXPECT_GE(fd_, 0) << path << ": " << std::strerror(errno);
  }
  ~Opened() { ::close(fd_); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  int get() const { return fd_; }

  void Put(size_t page, unsigned char value) const {
    const Page data(value);
    ASSERT_EQ(::pwrite(fd_, &data, kPage, static_cast<off_t>(page * kPage)), kPage)
        << std::strerror(errno);
  }
  // The value that fills the page; -1 if its bytes differ, -2 if it cannot be read.
  int Get(size_t page) const {
    Page data;
    if (::pread(fd_, &data, kPage, static_cast<off_t>(page * kPage)) != kPage) return -2;
    return ValueOf(data.bytes.data());
  }
  // The same through sendfile(2).
  int GetSent(size_t page) const {
    const TempDir dir;
    const Opened sink(dir / "sent", O_RDWR | O_CREAT | O_TRUNC);
    auto offset = static_cast<off_t>(page * kPage);
    if (::sendfile(sink.get(), fd_, &offset, kPage) != kPage) return -2;
    return sink.Get(0);
  }
  static int ValueOf(const volatile unsigned char* bytes) {
    for (size_t i = 1; i < kPage; ++i) {
      if (bytes[i] != bytes[0]) return -1;
    }
    return bytes[0];
  }

 private:
  const int fd_;
};

// The whole disk; null when the kernel has no such mapping for this opener.
class Mapping {
 public:
  Mapping(const Opened& file, int protection, int flags) {
    memory_ = ::mmap(nullptr, kDiskSize, protection, flags, file.get(), 0);
    error_ = memory_ == MAP_FAILED ? errno : 0;
  }
  ~Mapping() {
    if (error_ == 0) ::munmap(memory_, kDiskSize);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  int error() const { return error_; }
  int Get(size_t page) const { return Opened::ValueOf(At(page)); }
  void Put(size_t page, unsigned char value) const {
    for (size_t i = 0; i < kPage; ++i) At(page)[i] = value;
  }

 private:
  volatile unsigned char* At(size_t page) const {
    return static_cast<unsigned char*>(memory_) + page * kPage;
  }

  void* memory_;
  int error_;
};

class CoherenceTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "vm.qcow2", {.size = std::to_string(kDiskSize)});
    QemuIo(dir_ / "vm.qcow2", "qcow2", {"write -P 1 0 8M"});
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "vm.raw";
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  }

  const TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_F(CoherenceTest, ADirectWriteIsReadFromThePageCache) {
  for (const bool direct_first : {false, true}) {
    for (const int flags : {O_RDONLY, O_RDWR}) {
      SCOPED_TRACE(testing::Message() << "direct first " << direct_first << ", flags " << flags);
      std::unique_ptr<Opened> direct;
      if (direct_first) direct = std::make_unique<Opened>(disk_, O_RDWR | O_DIRECT);
      auto buffered = std::make_unique<Opened>(disk_, flags);
      if (!direct_first) direct = std::make_unique<Opened>(disk_, O_RDWR | O_DIRECT);
      buffered->Get(0);
      direct->Put(0, 0x5a);
      EXPECT_EQ(buffered->Get(0), 0x5a);
      EXPECT_EQ(buffered->GetSent(0), 0x5a);
      buffered.reset();
      buffered = std::make_unique<Opened>(disk_, flags);
      EXPECT_EQ(buffered->Get(0), 0x5a);
      direct->Put(0, 0x6b);
      EXPECT_EQ(buffered->Get(0), 0x6b);
      direct.reset();
      EXPECT_EQ(buffered->Get(0), 0x6b);
      buffered.reset();
      EXPECT_EQ(Opened(disk_, O_RDONLY).Get(0), 0x6b);
      EXPECT_EQ(Opened(disk_, O_RDONLY | O_DIRECT).Get(0), 0x6b);
    }
  }
}

// A small buffered write beside a direct one must not bring the rest of the page back.
TEST_F(CoherenceTest, APartOfAPageIsWrittenOverADirectWrite) {
  const Opened buffered(disk_, O_RDWR);
  const Opened direct(disk_, O_RDWR | O_DIRECT);
  EXPECT_EQ(buffered.Get(0), 1);
  direct.Put(0, 0x5a);
  const Page small(0x77);
  ASSERT_EQ(::pwrite(buffered.get(), &small, 16, 0), 16);
  ASSERT_EQ(::fsync(buffered.get()), 0);
  Page read;
  ASSERT_EQ(::pread(direct.get(), &read, kPage, 0), kPage);
  EXPECT_EQ(read.bytes[0], 0x77);
  EXPECT_EQ(read.bytes[100], 0x5a);
}

TEST_F(CoherenceTest, ASharedMappingAndDirectIo) {
  const Opened buffered(disk_, O_RDWR);
  const Mapping mapping(buffered, PROT_READ | PROT_WRITE, MAP_SHARED);
  ASSERT_EQ(mapping.error(), 0);
  const Opened direct(disk_, O_RDWR | O_DIRECT);
  for (unsigned char round = 10; round < 30; ++round) {
    mapping.Put(3, round);  // no msync
    EXPECT_EQ(direct.Get(3), round);
    const auto next = static_cast<unsigned char>(round + 100);
    direct.Put(3, next);
    EXPECT_EQ(mapping.Get(3), next);
    EXPECT_EQ(buffered.Get(3), next);
  }
}

TEST_F(CoherenceTest, MappingsThatComeAfterADirectOpener) {
  const Opened direct(disk_, O_RDWR | O_DIRECT);
  const Opened reader(disk_, O_RDONLY);
  const Opened writer(disk_, O_RDWR);
  const Mapping shared(reader, PROT_READ, MAP_SHARED);
  ASSERT_EQ(shared.error(), 0);
  // Not every kernel has it beside direct I/O; where it exists it must be right.
  const Mapping writable(writer, PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_TRUE(writable.error() == 0 || writable.error() == ENODEV) << writable.error();
  for (unsigned char round = 10; round < 30; ++round) {
    direct.Put(5, round);
    EXPECT_EQ(shared.Get(5), round);
    EXPECT_EQ(reader.Get(5), round);
    EXPECT_EQ(writer.Get(5), round);
    EXPECT_EQ(writer.GetSent(5), round);
    // Copied when it is touched first; a new one must not find an old page.
    EXPECT_EQ(Mapping(writer, PROT_READ | PROT_WRITE, MAP_PRIVATE).Get(5), round);
    EXPECT_EQ(Mapping(reader, PROT_READ, MAP_PRIVATE).Get(5), round);
    if (writable.error() != 0) continue;
    const auto next = static_cast<unsigned char>(round + 100);
    writable.Put(5, next);
    EXPECT_EQ(direct.Get(5), next);
    EXPECT_EQ(shared.Get(5), next);
  }
}

// Pages that a mapping leaves behind are not what the next opener sees.
TEST_F(CoherenceTest, APageThatOutlivesItsMapping) {
  const Opened direct(disk_, O_RDWR | O_DIRECT);
  {
    const Opened writer(disk_, O_RDWR);
    EXPECT_EQ(Mapping(writer, PROT_READ, MAP_PRIVATE).Get(2), 1);
    EXPECT_EQ(writer.GetSent(2), 1);
  }
  direct.Put(2, 0x44);
  EXPECT_EQ(Opened(disk_, O_RDONLY).Get(2), 0x44);
}

TEST_F(CoherenceTest, HolesZeroesAndGrowth) {
  const Opened buffered(disk_, O_RDWR);
  const Mapping mapping(buffered, PROT_READ, MAP_SHARED);
  ASSERT_EQ(mapping.error(), 0);
  const Opened direct(disk_, O_RDWR | O_DIRECT);
  for (const Opened* const puncher : {&buffered, &direct}) {
    for (const int mode :
         {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}) {
      direct.Put(7, 9);
      direct.Put(8, 9);
      EXPECT_EQ(buffered.Get(7), 9);
      EXPECT_EQ(mapping.Get(8), 9);
      ASSERT_EQ(::fallocate(puncher->get(), mode, 7 * kPage, 2 * kPage), 0);
      EXPECT_EQ(buffered.Get(7), 0);
      EXPECT_EQ(mapping.Get(8), 0);
      EXPECT_EQ(direct.Get(7), 0);
    }
  }
  // The last page is a part of one until the disk grows.
  ASSERT_EQ(::ftruncate(buffered.get(), kDiskSize + 512), 0);
  Page read(0xff);
  ASSERT_EQ(::pread(buffered.get(), &read, kPage, kDiskSize), 512);
  ASSERT_EQ(::ftruncate(direct.get(), kDiskSize + 2 * kPage), 0);
  EXPECT_EQ(buffered.Get(kDiskSize / kPage), 0);
  direct.Put(kDiskSize / kPage, 0x33);
  EXPECT_EQ(buffered.Get(kDiskSize / kPage), 0x33);
  buffered.Put(kDiskSize / kPage + 1, 0x34);
  EXPECT_EQ(direct.Get(kDiskSize / kPage + 1), 0x34);
}

// Openers of every kind come and go, change O_DIRECT on the way, and write and read at random.
TEST_F(CoherenceTest, ManyOpeners) {
  constexpr size_t kPages = 24;
  Random random;
  std::array<int, kPages> model{};
  model.fill(1);
  std::vector<std::unique_ptr<Opened>> files;
  const int steps = Wanted("CHAINFS_COHERENCE_STEPS", 2000);
  for (int step = 0; step < steps; ++step) {
    if (files.size() < 2 || random.Below(20) == 0) {
      const std::array<int, 4> kinds = {O_RDONLY, O_RDWR, O_RDONLY | O_DIRECT, O_RDWR | O_DIRECT};
      files.push_back(std::make_unique<Opened>(disk_, kinds[random.Below(kinds.size())]));
    }
    if (files.size() > 8) files.erase(files.begin() + static_cast<long>(random.Below(8)));
    const Opened& file = *files[random.Below(files.size())];
    const int flags = ::fcntl(file.get(), F_GETFL);
    if (random.Below(30) == 0) {
      ASSERT_EQ(::fcntl(file.get(), F_SETFL, flags ^ O_DIRECT), 0);
    }
    const size_t page = random.Below(kPages);
    const auto value = static_cast<unsigned char>(2 + random.Below(250));
    const bool writable = (flags & O_ACCMODE) == O_RDWR;
    SCOPED_TRACE(testing::Message() << "step " << step << " page " << page << " flags " << flags);
    if (writable && random.Below(4) == 0) {
      const Mapping mapping(file, PROT_READ | PROT_WRITE, MAP_SHARED);
      if (mapping.error() == 0) {
        mapping.Put(page, value);
        model[page] = value;
      }
    } else if (writable && random.Below(8) == 0) {
      ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>(page * kPage), kPage),
                0);
      model[page] = 0;
    } else if (writable && random.Below(2) == 0) {
      file.Put(page, value);
      model[page] = value;
    } else if (random.Below(8) == 0) {
      ASSERT_EQ(file.GetSent(page), model[page]);
    } else {
      ASSERT_EQ(file.Get(page), model[page]);
    }
  }
  files.clear();
  const Opened file(disk_, O_RDONLY);
  for (size_t page = 0; page < kPages; ++page) EXPECT_EQ(file.Get(page), model[page]) << page;
}

TEST_F(CoherenceTest, ALoopDeviceAndTheFileBelowIt) {
  for (const std::string direct_io : {"on", "off"}) {
    SCOPED_TRACE(direct_io);
    const LoopDevice loop(disk_, direct_io);
    const Opened device(loop.device(), O_RDWR | O_DIRECT);
    const Opened buffered(disk_, O_RDWR);
    const Opened direct(disk_, O_RDWR | O_DIRECT);
    for (unsigned char round = 10; round < 40; round += 4) {
      device.Put(4, round);
      EXPECT_EQ(buffered.Get(4), round);
      EXPECT_EQ(direct.Get(4), round);
      direct.Put(4, round + 1);
      EXPECT_EQ(device.Get(4), round + 1);
      EXPECT_EQ(buffered.Get(4), round + 1);
      buffered.Put(4, round + 2);
      EXPECT_EQ(device.Get(4), round + 2);
      ASSERT_EQ(
          ::fallocate(device.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * kPage, kPage),
          0);
      EXPECT_EQ(buffered.Get(4), 0);
    }
  }
}

// Writes pages with io_submit(2), several at once; returns when all have completed.
class AsyncWriter {
 public:
  static constexpr size_t kDepth = 16;
  AsyncWriter() { EXPECT_EQ(::syscall(SYS_io_setup, kDepth, &context_), 0); }
  ~AsyncWriter() { ::syscall(SYS_io_destroy, context_); }
  AsyncWriter(const AsyncWriter&) = delete;
  AsyncWriter& operator=(const AsyncWriter&) = delete;

  bool Put(const Opened& file, unsigned char value) {
    const Page data(value);
    std::array<iocb, kDepth> requests{};
    std::array<iocb*, kDepth> list{};
    for (size_t i = 0; i < kDepth; ++i) {
      requests[i].aio_lio_opcode = IOCB_CMD_PWRITE;
      requests[i].aio_fildes = static_cast<uint32_t>(file.get());
      requests[i].aio_buf = reinterpret_cast<uintptr_t>(&data);
      requests[i].aio_nbytes = kPage;
      requests[i].aio_offset = static_cast<int64_t>(i * kPage);
      list[i] = &requests[i];
    }
    if (::syscall(SYS_io_submit, context_, kDepth, list.data()) != kDepth) return false;
    std::array<io_event, kDepth> events{};
    if (::syscall(SYS_io_getevents, context_, kDepth, kDepth, events.data(), nullptr) != kDepth) {
      return false;
    }
    return std::ranges::all_of(events, [](const io_event& event) { return event.res == kPage; });
  }

 private:
  aio_context_t context_ = 0;
};

struct Race {
  bool async;
  int reader_flags;  // of those who read through the page cache meanwhile
  bool readers_first;
};

class CoherenceRaceTest : public CoherenceTest, public testing::WithParamInterface<Race> {};

// Readers bring pages into the cache while they are written directly. Each time the writer has
// written, the next read has the new value; nothing old stays.
TEST_P(CoherenceRaceTest, ReadersBesideADirectWriter) {
  const auto [async, reader_flags, readers_first] = GetParam();
  const int rounds = Wanted("CHAINFS_COHERENCE_ROUNDS", 500);
  std::unique_ptr<Opened> writer;
  if (!readers_first) writer = std::make_unique<Opened>(disk_, O_RDWR | O_DIRECT);
  const Opened reader(disk_, reader_flags);
  if (readers_first) writer = std::make_unique<Opened>(disk_, O_RDWR | O_DIRECT);
  std::atomic<bool> stop = false;
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        for (size_t page = 0; page < AsyncWriter::kDepth; ++page) failed += reader.Get(page) == -2;
      }
    });
  }
  AsyncWriter aio;
  int stale = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto value = static_cast<unsigned char>(2 + round % 250);
    if (async) {
      ASSERT_TRUE(aio.Put(*writer, value));
    } else {
      for (size_t page = 0; page < AsyncWriter::kDepth; ++page) writer->Put(page, value);
    }
    for (size_t page = 0; page < AsyncWriter::kDepth; ++page) stale += reader.Get(page) != value;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stale, 0) << "of " << rounds * static_cast<int>(AsyncWriter::kDepth);
  EXPECT_EQ(failed.load(), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, CoherenceRaceTest,
                         testing::Values(Race{false, O_RDONLY, true}, Race{false, O_RDONLY, false},
                                         Race{false, O_RDWR, true}, Race{false, O_RDWR, false},
                                         Race{true, O_RDONLY, true}, Race{true, O_RDONLY, false},
                                         Race{true, O_RDWR, true}, Race{true, O_RDWR, false}),
                         [](const auto& given) {
                           return std::string(given.param.async ? "async" : "sync") +
                                  (given.param.reader_flags == O_RDONLY ? "_readers" : "_writers") +
                                  (given.param.readers_first ? "_first" : "_later");
                         });

}  // namespace
}  // namespace chainfs
