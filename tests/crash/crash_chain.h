// SPDX-License-Identifier: Apache-2.0
//
// What the crash and I/O error tests of chains share: a chain in memory that the real catalog opens
// through its seam for directories, a guest whose sectors say what they may hold, and a reading of
// the chain by hand (header by header, no catalog, no index) that serves as the second opinion.
//
// Terms: the *flat* of a layer is what it shows together with everything below it. A layer below
// the active one is *frozen*: a stream may change where its contents lie, never its flat.
//
// Threads: one, but for Guest::RandomOperation, which several may call with a Random each.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/catalog/catalog.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "jobs/engine/job_manager.h"
#include "jobs/job_types.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"
#include "tests/support/stamp.h"
#include "tests/support/stream_request.h"

namespace chainfs {

using Bytes = std::vector<std::byte>;

struct LayerSpec {
  std::string file;        // "mid.qcow2"; the extension says the format
  std::string below = {};  // file name of its backing; empty: none
  uint64_t size = 0;       // bytes, a multiple of 512
  uint32_t cluster_bits = 9;
  uint32_t version = 3;
  uint32_t refcount_order = 4;
  bool lazy = false;
};

inline ImageFormat FormatOf(const std::string& file) {
  return file.ends_with(".qcow2") ? ImageFormat::kQcow2 : ImageFormat::kRaw;
}
inline std::string StemOfLayer(const std::string& file) { return file.substr(0, file.rfind('.')); }

inline Result<std::unique_ptr<Catalog>> OpenMemCatalog(const std::shared_ptr<MemHost>& host) {
  CatalogOptions options;
  options.memory = {.index_bytes = 1 << 20, .metadata_bytes = 1 << 20, .decoded_bytes = 1 << 20};
  options.open_directory = [host](const std::string& path) -> Result<std::unique_ptr<Directory>> {
    if (path == "/mem") return host->OpenRoot();
    return Fail(ErrorKind::kNotFound, path + ": no such directory in memory");
  };
  return Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, std::move(options));
}

inline Result<Bytes> ReadWholeDisk(Disk& disk) {
  Bytes bytes(disk.size());
  CHAINFS_ASSIGN(const size_t read, disk.Read(GuestOffset(0), bytes));
  if (read != bytes.size()) return Fail(ErrorKind::kIo, "short read within the disk");
  return bytes;
}

// The flat of an image, following the names in the headers.
inline Result<Bytes> FlatByHand(Directory& directory, const std::string& name, ImageFormat format) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory.Open(name, OpenMode::kReadOnly));
  if (format == ImageFormat::kRaw) {
    CHAINFS_ASSIGN(const uint64_t size, file->Size());
    Bytes bytes(size);
    CHAINFS_TRY(file->ReadZeroFilled(HostOffset(0), bytes));
    return bytes;
  }
  CHAINFS_ASSIGN(const qcow2::Qcow2Header header, qcow2::ReadQcow2Header(*file));
  std::unique_ptr<BufferBelow> below;
  if (header.backing) {
    const auto below_format = ParseImageFormat(header.backing->format.value_or(""));
    if (!below_format) return Fail(ErrorKind::kInvalidFormat, name + ": no backing format");
    CHAINFS_ASSIGN(Bytes bytes, FlatByHand(directory, header.backing->name, *below_format));
    below = std::make_unique<BufferBelow>(std::move(bytes));
  }
  MetadataCache cache(1 << 20);
  CHAINFS_ASSIGN(
      const std::unique_ptr<WritableImage> image,
      OpenQcow2Image(std::move(file), cache, {.read_only = true, .owner = cache.NewOwner()}));
  return ReadWholeImage(*image, below.get());
}

// Empty, or which qcow2 layer has which corruption. Leaks are no matter.
inline std::string CorruptionOf(Directory& directory, const std::vector<std::string>& files) {
  for (const std::string& name : files) {
    if (FormatOf(name) != ImageFormat::kQcow2) continue;
    const auto file = directory.Open(name, OpenMode::kReadOnly);
    if (!file) return file.error().message;
    const auto report = CheckQcow2(**file);
    if (!report) return report.error().message;
    if (report->corruptions != 0) return name + ": " + report->messages.front();
  }
  return "";
}

inline Result<std::optional<BackingReference>> BackingOf(Directory& directory,
                                                         const std::string& name) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, directory.Open(name, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(qcow2::Qcow2Header header, qcow2::ReadQcow2Header(*file));
  return std::move(header).backing;
}

// Whoever uses a disk, and what its sectors may hold because of that.
class Guest {
 public:
  // The disk may grow to `max_size`. Time is that of the host's recording when there is a host.
  Guest(std::shared_ptr<MemHost> host, uint64_t max_size)
      : host_(std::move(host)), max_size_(max_size), model_(1, max_size / kStampSize, Clock()) {}

  SectorModel& model() { return model_; }
  bool may_grow() const { return may_grow_; }
  void set_may_grow(bool may) { may_grow_ = may; }

  // What the disk shows is durable; begins the history.
  void Accept(std::span<const std::byte> contents) {
    sizes_ = {{.size = contents.size(), .issued = -1, .completed = -1}};
    const Bytes rest(max_size_ - contents.size());
    model_.AcceptAsDurable(0, contents);
    model_.AcceptAsDurable(contents.size() / kStampSize, rest);
  }

  Status Write(Disk& disk, uint64_t lba, uint64_t count) {
    Bytes data(count * kStampSize);
    const auto ticket = model_.BeginWrite(lba, data);
    CHAINFS_TRY(disk.Write(GuestOffset(lba * kStampSize), data));
    model_.End(ticket);
    return {};
  }

  Status Zero(Disk& disk, uint64_t lba, uint64_t count, bool keep) {
    const auto ticket = model_.BeginZero(lba, count);
    CHAINFS_TRY(disk.WriteZeroes(GuestOffset(lba * kStampSize), count * kStampSize, keep));
    model_.End(ticket);
    return {};
  }

  Status Discard(Disk& disk, uint64_t lba, uint64_t count) {
    const auto ticket = model_.BeginDiscard(lba, count);
    CHAINFS_TRY(disk.Discard(GuestOffset(lba * kStampSize), count * kStampSize));
    model_.End(ticket);
    return {};
  }

  Status Flush(Disk& disk) {
    const auto ticket = model_.BeginFlush();
    CHAINFS_TRY(disk.Flush());
    model_.End(ticket);
    return {};
  }

  Status Grow(Disk& disk, uint64_t size) {
    const size_t index = sizes_.size();
    sizes_.push_back({.size = size, .issued = Note("grow"), .completed = INT64_MAX});
    CHAINFS_TRY(disk.Grow(size));
    sizes_[index].completed = Mark("grown");
    return {};
  }

  Status RandomOperation(Disk& disk, Random& random) {
    const uint64_t sectors = disk.size() / kStampSize;
    const uint64_t cluster = disk.chain()->active->image->cluster_size() / kStampSize;
    const uint64_t lba = random.Below(sectors);
    const uint64_t reach = 2 * std::min<uint64_t>(cluster, 16);
    const uint64_t count = std::min(sectors - lba, 1 + random.Below(reach));
    switch (random.Below(12)) {
      case 0:
        return Zero(disk, lba, count, random.OneIn(2));
      case 1: {
        const uint64_t from = RoundDown(lba, cluster);
        return Discard(disk, from, std::min(sectors - from, cluster * (1 + random.Below(3))));
      }
      case 2:
      case 3:
        return Flush(disk);
      case 4:
        if (may_grow_ && disk.size() < max_size_) {
          const uint64_t more = 1 + random.Below((max_size_ - disk.size()) / kStampSize);
          return Grow(disk, disk.size() + more * kStampSize);
        }
        [[fallthrough]];
      default:
        return Write(disk, lba, count);
    }
  }

  // What is wrong with the flat that was found after a crash at `point`; empty if nothing.
  std::string CheckCrash(uint64_t point, std::span<const std::byte> contents) const {
    const int64_t until = static_cast<int64_t>(std::min<uint64_t>(point, INT64_MAX));
    uint64_t least = 0;
    bool known = false;
    for (const Size& size : sizes_) {
      if (size.completed < until) least = std::max(least, size.size);
      known = known || (size.issued < until && size.size == contents.size());
    }
    if (!known || contents.size() < least) {
      return fmt::format("the disk has {} bytes, at least {} expected", contents.size(), least);
    }
    return model_.CheckCrash(point, 0, contents);
  }

  // The same for the running disk, or one that was closed as it should be.
  std::string CheckNow(std::span<const std::byte> contents) {
    return model_.CheckRead(model_.BeginRead(), 0, contents);
  }
  std::string CheckNow(Disk& disk) {
    const uint64_t begin = model_.BeginRead();
    const Result<Bytes> contents = ReadWholeDisk(disk);
    if (!contents) return contents.error().message;
    return model_.CheckRead(begin, 0, *contents);
  }

 private:
  struct Size {
    uint64_t size = 0;
    int64_t issued = 0;
    int64_t completed = 0;
  };

  SectorModel::Clock Clock() {
    if (host_ == nullptr) return {};
    return [host = host_](std::string what, bool raises) {
      return raises ? host->Mark(std::move(what)) : host->Note(std::move(what));
    };
  }
  int64_t Note(const char* what) {
    return host_ == nullptr ? -1 : static_cast<int64_t>(host_->Note(what));
  }
  int64_t Mark(const char* what) {
    return host_ == nullptr ? -1 : static_cast<int64_t>(host_->Mark(what));
  }

  const std::shared_ptr<MemHost> host_;
  const uint64_t max_size_;
  bool may_grow_ = false;
  SectorModel model_;
  std::vector<Size> sizes_;
};

// Makes the chain on `host`, each layer with some writes, zeroes and holes of its own, and gives
// `guest` what the layer called last in `layers` shows. Test failures when anything goes wrong.
inline void BuildChain(const std::shared_ptr<MemHost>& host, const std::vector<LayerSpec>& layers,
                       Guest& guest, Random& random) {
  const std::unique_ptr<Directory> root = host->OpenRoot();
  for (const LayerSpec& layer : layers) {
    if (FormatOf(layer.file) == ImageFormat::kRaw) {
      auto file = root->Create(layer.file, 0644);
      ASSERT_TRUE(file && (*file)->Truncate(layer.size));
    } else {
      Qcow2CreateOptions options{.virtual_size = layer.size,
                                 .version = layer.version,
                                 .cluster_bits = layer.cluster_bits,
                                 .refcount_order = layer.refcount_order,
                                 .lazy_refcounts = layer.lazy};
      if (!layer.below.empty()) {
        options.backing = BackingReference{.name = layer.below,
                                           .format = std::string(FormatOf(layer.below).name())};
      }
      const auto made = CreateQcow2(*root, layer.file, options);
      ASSERT_TRUE(made) << made.error().message;
    }
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    const DiskPtr disk = (*catalog)->Find(StemOfLayer(layer.file));
    ASSERT_NE(disk, nullptr) << layer.file;
    const uint64_t sectors = layer.size / kStampSize;
    const uint64_t piece = std::max<uint64_t>(1, sectors / 12);
    for (int i = 0; i < 7; ++i) {
      const uint64_t lba = random.Below(sectors);
      const uint64_t count = std::min(sectors - lba, 1 + random.Below(piece));
      const Status done =
          i < 5 ? guest.Write(*disk, lba, count) : guest.Zero(*disk, lba, count, random.OneIn(2));
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_TRUE((*catalog)->Close());
  }
  const auto contents = FlatByHand(*root, layers.back().file, FormatOf(layers.back().file));
  ASSERT_TRUE(contents) << contents.error().message;
  guest.Accept(*contents);
}

// The flats of all layers; for those that must not change.
inline std::map<std::string, Bytes> FlatsByHand(const std::shared_ptr<MemHost>& host,
                                                const std::vector<std::string>& files) {
  std::map<std::string, Bytes> flats;
  const std::unique_ptr<Directory> root = host->OpenRoot();
  for (const std::string& file : files) {
    auto flat = FlatByHand(*root, file, FormatOf(file));
    EXPECT_TRUE(flat) << file << ": " << flat.error().message;
    if (flat) flats[file] = *std::move(flat);
  }
  return flats;
}

// Empty, or which of the flats is not what it was.
inline std::string ChangedFlat(Directory& root, const std::map<std::string, Bytes>& flats) {
  for (const auto& [file, expected] : flats) {
    const auto flat = FlatByHand(root, file, FormatOf(file));
    if (!flat) return flat.error().message;
    if (const std::string differs = Difference(expected, *flat); !differs.empty()) {
      return file + ": " + differs;
    }
  }
  return "";
}

// The active layer of the chain that began at `origin`, by its record as it is written.
inline std::string ActiveByHand(const std::shared_ptr<MemHost>& host,
                                const std::string& origin = "vm.qcow2") {
  const std::string record = ".chainfs/chain-" + StemOfLayer(origin);
  if (!host->Exists(record)) return origin;
  const std::vector<std::byte> bytes = host->Contents(record);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string key = "\"active\": \"";
  const size_t at = text.find(key);
  if (at == std::string::npos) return "no active layer in: " + text;
  const size_t begin = at + key.size();
  return text.substr(begin, text.find('"', begin) - begin);
}

// Waits until no job of the manager is under way; a guard time only keeps a hang from going on for
// ever. The newest job as it is then.
inline std::optional<jobs::JobInfo> WaitForJobs(const jobs::JobManager& jobs) {
  const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < guard) {
    const std::vector<jobs::JobInfo> all = jobs.Jobs("");
    const bool over = std::ranges::all_of(all, [](const jobs::JobInfo& job) {
      return job.status == jobs::JobStatus::kConcluded || job.status == jobs::JobStatus::kNull;
    });
    if (over) return all.empty() ? std::nullopt : std::optional(all.front());
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  for (const jobs::JobInfo& job : jobs.Jobs("")) {
    ADD_FAILURE() << "a job does not end: " << jobs::JobToJson(job);
  }
  return std::nullopt;
}

}  // namespace chainfs
