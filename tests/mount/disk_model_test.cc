// SPDX-License-Identifier: Apache-2.0
//
// A mounted disk beside a buffer that says what it must hold, in the manner of fsx: buffered and
// direct reads and writes, mappings, punched holes, zeroed ranges, growth, fsync, other ways of
// opening it, and a daemon that is started again, all mixed. At the end qemu-img says what the
// image holds.
//
// CHAINFS_MODEL_OPERATIONS (default 5000) operations for each kind of disk.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "blocklayer/base/unique_fd.h"
#include "tests/mount/control.h"
#include "tests/mount/images.h"
#include "tests/support/effort.h"
#include "tests/support/random.h"

namespace chainfs {
namespace {

constexpr uint64_t kFirstSize = 6 << 20;
constexpr uint64_t kLastSize = 8 << 20;
constexpr uint64_t kMost = 128 << 10;  // of one operation
constexpr size_t kAlignment = 4096;

struct Kind {
  const char* name;
  const char* format;   // of the top
  const char* options;  // of qemu-img create, for every qcow2 layer
  int layers;           // the lowest one holds data
  bool compressed;      // the lowest one
  const char* mount;    // options of the daemon
};
std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

// Memory as O_DIRECT wants it.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t bytes)
      : data_(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)), &std::free),
        size_(bytes) {}
  std::span<std::byte> first(size_t count) { return std::span(data_.get(), size_).first(count); }

 private:
  const std::unique_ptr<std::byte, decltype(&std::free)> data_;
  const size_t size_;
};

class DiskModelTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const Kind& kind = GetParam();
    WriteRandomFile(dir_ / "content.raw", kFirstSize, random_);
    model_ = ReadAll(dir_ / "content.raw");
    std::filesystem::create_directory(dir_ / "images");
    const bool raw = kind.format == std::string("raw");
    std::string below = At(raw ? "vm.img" : Name(0));
    std::vector<std::string> convert = {"qemu-img", "convert", "-f", "raw", "-O", kind.format};
    if (kind.compressed) convert.emplace_back("-c");
    if (!raw) convert.insert(convert.end(), {"-o", kind.options});
    convert.insert(convert.end(), {dir_ / "content.raw", below});
    MustRun(convert);
    for (int i = 1; i < kind.layers; ++i) {
      MustRun({"qemu-img", "create", "-q", "-f", "qcow2", "-o", kind.options, "-b", below, "-F",
               "qcow2", At(Name(i))});
      below = At(Name(i));
    }
    top_ = below;
    std::vector<std::string> options;
    if (kind.mount[0] != '\0') options = {"-o", kind.mount};
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{"vm=" + top_}, options);
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    buffer_ = std::make_unique<AlignedBuffer>(kMost);
    Open();
  }

  std::string At(const std::string& name) const { return dir_ / ("images/" + name); }
  static std::string Name(int layer) { return "layer" + std::to_string(layer) + ".qcow2"; }
  static std::vector<std::byte> ReadAll(const std::string& path) {
    const std::string text = ReadTextFile(path);
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }

  // One or two ways at once.
  void Open() {
    CloseAll();
    const std::string disk = *daemon_ / "vm.raw";
    const uint64_t way = random_.Below(4);
    if (way != 0) buffered_ = UniqueFd(::open(disk.c_str(), O_RDWR | O_CLOEXEC));
    if (way != 1) direct_ = UniqueFd(::open(disk.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    ASSERT_TRUE(buffered_.valid() || direct_.valid()) << std::strerror(errno);
    if (way == 2 && std::string(GetParam().mount).find("direct_io") == std::string::npos) Map();
  }
  void Map() {
    map_size_ = model_.size();
    void* const at =
        ::mmap(nullptr, map_size_, PROT_READ | PROT_WRITE, MAP_SHARED, buffered_.get(), 0);
    ASSERT_NE(at, MAP_FAILED) << std::strerror(errno);
    map_ = static_cast<std::byte*>(at);
  }
  void Unmap() {
    if (map_ != nullptr) ::munmap(map_, map_size_);
    map_ = nullptr;
  }
  void CloseAll() {
    Unmap();
    buffered_ = UniqueFd();
    direct_ = UniqueFd();
  }
  void TearDown() override { CloseAll(); }

  struct Range {
    uint64_t offset;
    uint64_t length;
  };
  Range SomeRange(uint64_t unit) {
    const uint64_t units = model_.size() / unit;
    const uint64_t from = random_.Below(units);
    // Short ones mostly, which share clusters.
    const uint64_t most = random_.OneIn(4) ? kMost : 8192;
    const uint64_t count =
        std::min(units - from, 1 + random_.Below(std::max<uint64_t>(most / unit, 1)));
    return {from * unit, count * unit};
  }
  const UniqueFd& AnyFd() {
    if (!direct_.valid()) return buffered_;
    return !buffered_.valid() || random_.OneIn(2) ? direct_ : buffered_;
  }
  uint64_t UnitOf(const UniqueFd& fd) const { return fd.get() == direct_.get() ? 512 : 1; }
  auto InModel(const Range& range) { return model_.begin() + static_cast<int64_t>(range.offset); }

  void Write() {
    const UniqueFd& fd = AnyFd();
    const Range range = SomeRange(UnitOf(fd));
    const std::span<std::byte> data = buffer_->first(range.length);
    random_.Fill(data);
    ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(range.offset)),
              static_cast<ssize_t>(data.size()))
        << std::strerror(errno);
    std::ranges::copy(data, InModel(range));
  }
  void Read() {
    const UniqueFd& fd = AnyFd();
    Compare(fd, SomeRange(UnitOf(fd)));
  }
  void Compare(const UniqueFd& fd, const Range& range) {
    const std::span<std::byte> data = buffer_->first(range.length);
    ASSERT_EQ(::pread(fd.get(), data.data(), data.size(), static_cast<off_t>(range.offset)),
              static_cast<ssize_t>(data.size()))
        << std::strerror(errno);
    ExpectSame(data, range, fd.get() == direct_.get() ? "direct read" : "buffered read");
  }
  void ExpectSame(std::span<const std::byte> data, const Range& range, const char* what) {
    const auto [differs, expected] =
        std::ranges::mismatch(data, std::span(model_).subspan(range.offset, range.length));
    ASSERT_TRUE(differs == data.end())
        << what << " of " << range.length << " bytes at " << range.offset << " differs at "
        << range.offset + static_cast<uint64_t>(differs - data.begin());
  }
  void UseMapping() {
    if (map_ == nullptr) return;
    Range range = SomeRange(1);
    range.length = range.offset >= map_size_ ? 0 : std::min(range.length, map_size_ - range.offset);
    const std::span<std::byte> mapped(map_ + range.offset, range.length);
    if (range.length == 0) return;
    if (random_.OneIn(2)) return ExpectSame(mapped, range, "mapping");
    random_.Fill(mapped);
    std::ranges::copy(mapped, InModel(range));
    if (random_.OneIn(4)) ::msync(map_, map_size_, MS_SYNC);
  }
  void Clear(int mode) {
    const Range range = SomeRange(random_.OneIn(2) ? 4096 : 1);
    ASSERT_EQ(::fallocate(AnyFd().get(), mode, static_cast<off_t>(range.offset),
                          static_cast<off_t>(range.length)),
              0)
        << std::strerror(errno);
    std::fill_n(InModel(range), range.length, std::byte{0});
  }
  void Grow() {
    if (model_.size() >= kLastSize) return;
    const uint64_t size = std::min(kLastSize, model_.size() + 512 * (1 + random_.Below(512)));
    ASSERT_EQ(::ftruncate(AnyFd().get(), static_cast<off_t>(size)), 0) << std::strerror(errno);
    model_.resize(size);
  }
  void Restart() {
    CloseAll();
    ASSERT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    Open();
  }

  void Step() {
    const uint64_t dice = random_.Below(1000);
    if (dice < 2) return Restart();
    if (dice < 12) return Open();
    if (dice < 17) return Grow();
    if (dice < 60) {
      ASSERT_EQ(::fsync(AnyFd().get()), 0) << std::strerror(errno);
      return;
    }
    if (dice < 160) return Clear(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    if (dice < 220) return Clear(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
    if (dice < 400) return UseMapping();
    return dice < 700 ? Write() : Read();
  }

  const TempDir dir_;
  Random random_;
  std::vector<std::byte> model_;
  std::string top_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<AlignedBuffer> buffer_;
  UniqueFd buffered_;
  UniqueFd direct_;
  std::byte* map_ = nullptr;
  uint64_t map_size_ = 0;
};

TEST_P(DiskModelTest, HoldsWhatWasWritten) {
  const uint64_t operations = FromEnvironment("CHAINFS_MODEL_OPERATIONS", 5000);
  for (uint64_t i = 0; i < operations; ++i) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "operation " << i;
  }
  for (uint64_t at = 0; at < model_.size(); at += kMost) {
    ASSERT_NO_FATAL_FAILURE(Compare(AnyFd(), {at, std::min(kMost, model_.size() - at)}));
  }
  CloseAll();
  ASSERT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  if (GetParam().format == std::string("qcow2")) {
    EXPECT_EQ(CheckImage(top_), 0);
  }
  Flatten(top_, GetParam().format, dir_ / "flat.raw");
  EXPECT_TRUE(ReadAll(dir_ / "flat.raw") == model_);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DiskModelTest,
    testing::Values(Kind{"raw", "raw", "", 1, false, ""},
                    Kind{"qcow2", "qcow2", "cluster_size=64k", 1, false, ""},
                    Kind{"overlay", "qcow2", "cluster_size=64k", 2, false, ""},
                    Kind{"deep", "qcow2", "cluster_size=4k", 8, false, ""},
                    Kind{"extended", "qcow2", "cluster_size=64k,extended_l2=on", 2, false, ""},
                    Kind{"compressed", "qcow2", "cluster_size=16k,compression_type=zstd", 1, true,
                         ""},
                    Kind{"direct", "qcow2", "cluster_size=512", 2, true, "direct_io"},
                    Kind{"writeback", "qcow2", "cluster_size=64k,lazy_refcounts=on", 2, true,
                         "writeback_cache"}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
