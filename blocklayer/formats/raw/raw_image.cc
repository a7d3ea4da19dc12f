// SPDX-License-Identifier: Apache-2.0
//
// See raw_image.h. Writes go in place; there is nothing to order but the host's own flush.
//
// Threads: the size is an atomic that only Grow and Shrink change; everything else is the file's.
#include "blocklayer/formats/raw/raw_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

namespace chainfs::raw {
namespace {

constexpr uint64_t kSectorSize = 512;
constexpr uint32_t kClusterSize = 4096;

class RawImage final : public WritableImage {
 public:
  RawImage(std::unique_ptr<File> file, bool read_only, uint64_t file_size)
      : file_(std::move(file)),
        opened_read_only_(read_only || !file_->writable()),
        virtual_size_(RoundUp(file_size, kSectorSize)) {}

  ImageFormat format() const override { return ImageFormat::kRaw; }
  File& file() override { return *file_; }
  uint64_t virtual_size() const override { return virtual_size_.load(std::memory_order_acquire); }
  uint32_t cluster_size() const override { return kClusterSize; }
  bool writable() const override {
    return !opened_read_only_ && !file_->poisoned() && !closed_.load(std::memory_order_acquire);
  }
  std::string read_only_reason() const override;
  Status MakeWritable() override;
  std::optional<BackingReference> backing() const override { return std::nullopt; }
  Result<uint64_t> AllocatedBytes() override;

  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) override;

  Status Write(GuestOffset offset, std::span<const std::byte> data,
               const BackingReader* below) override;
  Status WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                       HostOffset source_offset) override;
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                     const BackingReader* below) override;
  Status Discard(GuestOffset offset, uint64_t length) override;

  // Everything is allocated, so there is never anything to populate.
  Status Populate(GuestOffset offset, std::span<const std::byte> data) override {
    return CheckChange(offset, data.size());
  }
  Status PopulateZeroes(GuestOffset offset, uint64_t length) override {
    return CheckChange(offset, length);
  }
  Status PopulateFromFile(GuestOffset offset, uint64_t length, File& /*source*/,
                          HostOffset /*source_offset*/) override {
    return CheckChange(offset, length);
  }

  Status Flush() override;
  Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) override;
  Status Shrink(uint64_t new_size) override;
  Status CanSetBacking(const std::optional<BackingReference>& backing) override;
  Status SetBacking(const std::optional<BackingReference>& backing) override {
    return CanSetBacking(backing);
  }
  Status Close() override;

 private:
  Status CheckRange(GuestOffset offset, uint64_t length) const;
  Status CheckWritable() const;
  Status CheckChange(GuestOffset offset, uint64_t length) const {
    CHAINFS_TRY(CheckRange(offset, length));
    return CheckWritable();
  }

  const std::unique_ptr<File> file_;
  std::atomic<bool> opened_read_only_;
  std::atomic<uint64_t> virtual_size_;
  std::atomic<bool> closed_ = false;
};

HostOffset ToHost(GuestOffset offset) { return HostOffset(offset.value); }

std::string RawImage::read_only_reason() const {
  if (opened_read_only_) return "it was opened for reading only";
  if (file_->poisoned()) return "an earlier flush failed; unmount, check it and mount again";
  if (closed_.load(std::memory_order_acquire)) return "it was closed";
  return "";
}

Status RawImage::MakeWritable() {
  if (!opened_read_only_) return CheckWritable();
  CHAINFS_TRY(file_->ReopenForWriting());
  opened_read_only_ = false;
  return CheckWritable();
}

Result<uint64_t> RawImage::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, file_->Stat());
  return stat.allocated_bytes;
}

Status RawImage::CheckRange(GuestOffset offset, uint64_t length) const {
  const uint64_t size = virtual_size();
  if (offset.value <= size && length <= size - offset.value) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes)", file_->path(),
                          length, offset.value, size));
}

Status RawImage::CheckWritable() const {
  if (writable()) return {};
  return Fail(ErrorKind::kReadOnly,
              fmt::format("{}: cannot be written: {}", file_->path(), read_only_reason()));
}

Result<Extent> RawImage::Map(GuestOffset offset, uint64_t length, MapDetail detail) {
  CHAINFS_TRY(CheckRange(offset, length));
  Extent extent{.kind = ExtentKind::kData, .length = length, .host = ToHost(offset)};
  if (detail == MapDetail::kFast) return extent;
  CHAINFS_ASSIGN(const DataRun run, file_->RunAt(ToHost(offset)));
  if (run.length >= length) {
    if (!run.is_data) extent = {.kind = ExtentKind::kZero, .length = length};
    return extent;
  }
  // Extents change at whole sectors only; one that is partly data (the file's last) is data.
  const uint64_t end = offset.value + run.length;
  const uint64_t hole_end = RoundDown(end, kSectorSize);
  if (!run.is_data && hole_end > offset.value) {
    return Extent{.kind = ExtentKind::kZero, .length = hole_end - offset.value};
  }
  extent.length = std::min(length, RoundUp(end, kSectorSize) - offset.value);
  return extent;
}

Status RawImage::Write(GuestOffset offset, std::span<const std::byte> data,
                       const BackingReader* /*below*/) {
  CHAINFS_TRY(CheckChange(offset, data.size()));
  if (data.empty()) return {};
  // Within the last sector of a file of odd size this makes the file longer; the disk stays as is.
  return file_->WriteAt(ToHost(offset), data);
}

Status RawImage::WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                               HostOffset source_offset) {
  CHAINFS_TRY(CheckChange(offset, length));
  if (length == 0) return {};
  return file_->CopyRangeFrom(source, source_offset, ToHost(offset), length);
}

Status RawImage::WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                             const BackingReader* /*below*/) {
  CHAINFS_TRY(CheckChange(offset, length));
  if (length == 0) return {};
  if (!keep_allocated) {
    Status punched = file_->PunchHole(ToHost(offset), length);
    if (punched || punched.error().kind != ErrorKind::kUnsupported) return punched;
  }
  return file_->ZeroRange(ToHost(offset), length);
}

Status RawImage::Discard(GuestOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckChange(offset, length));
  if (length == 0) return {};
  Status punched = file_->PunchHole(ToHost(offset), length);
  // A host that cannot give space back leaves the contents as they are, which Discard may do.
  if (!punched && punched.error().kind == ErrorKind::kUnsupported) return {};
  return punched;
}

Status RawImage::Flush() {
  if (opened_read_only_ || closed_.load(std::memory_order_acquire)) return {};
  return file_->DataSync();
}

Status RawImage::Grow(uint64_t new_size, const BackingReader* /*below*/,
                      uint64_t /*backing_size*/) {
  const uint64_t old_size = virtual_size();
  CHAINFS_TRY(CheckNewSize(new_size, old_size, UINT64_MAX));
  CHAINFS_TRY(CheckWritable());
  if (new_size == old_size) return {};
  CHAINFS_TRY(file_->Truncate(new_size));
  CHAINFS_TRY(file_->DataSync());
  virtual_size_.store(new_size, std::memory_order_release);
  return {};
}

Status RawImage::Shrink(uint64_t new_size) {
  const uint64_t old_size = virtual_size();
  CHAINFS_TRY(CheckNewSize(new_size, 0, old_size));
  CHAINFS_TRY(CheckWritable());
  // Nobody maps what is about to go.
  virtual_size_.store(new_size, std::memory_order_release);
  if (Status cut = file_->Truncate(new_size); !cut) {
    virtual_size_.store(old_size, std::memory_order_release);
    return cut;
  }
  return file_->DataSync();
}

Status RawImage::CanSetBacking(const std::optional<BackingReference>& /*backing*/) {
  return Fail(ErrorKind::kUnsupported,
              file_->path() + ": a raw image cannot have a backing file; use a qcow2 image");
}

Status RawImage::Close() {
  if (closed_.load(std::memory_order_acquire)) return {};
  Status status = writable() ? Flush() : Status();
  closed_.store(true, std::memory_order_release);
  return status;
}

}  // namespace

Result<std::unique_ptr<WritableImage>> OpenRawImage(std::unique_ptr<File> file, bool read_only) {
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  if (size > UINT64_MAX / 2) {
    return Fail(ErrorKind::kInvalidFormat, file->path() + ": the file is too large for a disk");
  }
  return std::make_unique<RawImage>(std::move(file), read_only, size);
}

}  // namespace chainfs::raw
