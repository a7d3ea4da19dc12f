// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/intent_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <utility>

#include "blocklayer/base/types.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/record_format.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kBitsBegin = 4096;
constexpr uint64_t kSmallestRegion = 512;  // bytes
constexpr std::array<std::string_view, 4> kStates = {"making", "all-differ", "marked", "kept"};

uint64_t RegionsOf(const IntentHeader& header) { return DivRoundUp(header.size, header.region); }
uint64_t SectorsOf(const IntentHeader& header) {
  return DivRoundUp(RegionsOf(header), IntentFile::kRegionsPerSector);
}

Result<IntentFile::Sector> EncodeHeader(const IntentHeader& header) {
  const std::string text = FormatRecord(
      {{.key = "state", .value = std::string(kStates[std::to_underlying(header.state)])},
       {.key = "size", .value = std::to_string(header.size)},
       {.key = "region", .value = std::to_string(header.region)},
       {.key = "inode", .value = std::to_string(header.inode)},
       {.key = "born", .value = std::to_string(header.born)},
       {.key = "made", .value = header.made ? "yes" : "no"}});
  IntentFile::Sector sector;
  if (text.size() > sector.size()) return Fail(ErrorKind::kInvalidArgument, "intent: too long");
  sector.fill(std::byte{'\n'});
  std::ranges::copy(std::as_bytes(std::span(text)), sector.begin());
  return sector;
}

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

std::optional<IntentHeader> DecodeHeader(const RecordFields& fields) {
  const auto value_of = [&](std::string_view key) {
    const auto found = std::ranges::find(fields, key, &RecordField::key);
    return found == fields.end() ? std::string() : found->value;
  };
  const auto state = std::ranges::find(kStates, value_of("state"));
  const std::optional<uint64_t> size = ParseNumber<uint64_t>(value_of("size"));
  const std::optional<uint64_t> region = ParseNumber<uint64_t>(value_of("region"));
  const std::optional<uint64_t> inode = ParseNumber<uint64_t>(value_of("inode"));
  const std::optional<int64_t> born = ParseNumber<int64_t>(value_of("born"));
  if (state == kStates.end() || !size || !region || !inode || !born) return std::nullopt;
  // More than any of ours has would only cost memory.
  constexpr uint64_t kMostRegions = 1 << 24;
  if (!std::has_single_bit(*region) || *region < kSmallestRegion ||
      *size / *region > kMostRegions) {
    return std::nullopt;
  }
  return IntentHeader{.state = static_cast<IntentHeader::State>(state - kStates.begin()),
                      .size = *size,
                      .region = *region,
                      .inode = *inode,
                      .born = *born,
                      .made = value_of("made") == "yes"};
}

}  // namespace

std::string IntentFileName(std::string_view job) { return fmt::format("{}{}", kIntentPrefix, job); }

uint64_t IntentRegionSize(uint64_t size, uint64_t granularity) {
  constexpr uint64_t kFewest = 64;     // regions, of a small disk
  constexpr uint64_t kMost = 1 << 15;  // of a large one
  constexpr uint64_t kUsual = 1 << 20;
  const uint64_t coarse = std::bit_ceil(std::max<uint64_t>(1, DivRoundUp(size, kFewest)));
  const uint64_t fine =
      std::max(kUsual, std::bit_ceil(std::max<uint64_t>(1, DivRoundUp(size, kMost))));
  return std::max({kSmallestRegion, granularity, std::min(coarse, fine)});
}

Status IntentFile::Make(RecordStore& store, const Disk& disk, std::string_view job,
                        const IntentHeader& header) {
  CHAINFS_ASSIGN(const Sector text, EncodeHeader(header));
  std::string contents(kBitsBegin + SectorsOf(header) * kSectorBytes, '\xff');
  std::fill_n(contents.begin(), kBitsBegin, '\0');
  std::ranges::copy(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()),
                    contents.begin());
  return store.Write(disk, IntentFileName(job), contents);
}

Result<std::unique_ptr<IntentFile>> IntentFile::Open(RecordStore& store, const Disk& disk,
                                                     std::string_view job) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, store.Open(disk, IntentFileName(job)));
  Sector sector = {};
  CHAINFS_TRY(file->ReadZeroFilled(HostOffset(0), sector));
  std::string_view text(reinterpret_cast<const char*>(sector.data()), sector.size());
  text = text.substr(0, std::min(text.size(), text.find_last_not_of('\n') + 1));
  const Result<RecordFields> fields = ParseRecord(text);
  const std::optional<IntentHeader> header = fields ? DecodeHeader(*fields) : std::nullopt;
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  if (!header || size < kBitsBegin + SectorsOf(*header) * kSectorBytes) {
    return Fail(ErrorKind::kInvalidFormat,
                EscapeText(fmt::format("{}: a log that makes no sense", file->path())));
  }
  return std::unique_ptr<IntentFile>(new IntentFile(std::move(file), *header));
}

Status IntentFile::WriteHeader(const IntentHeader& header) {
  CHAINFS_ASSIGN(const Sector text, EncodeHeader(header));
  CHAINFS_TRY(file_->WriteAt(HostOffset(0), text));
  CHAINFS_TRY(file_->DataSync());
  header_ = header;
  return {};
}

uint64_t IntentFile::regions() const { return RegionsOf(header_); }
uint64_t IntentFile::sectors() const { return SectorsOf(header_); }

Result<IntentFile::Sector> IntentFile::ReadSector(uint64_t sector) {
  Sector bits = {};
  CHAINFS_ASSIGN(const size_t read,
                 file_->ReadAt(HostOffset(kBitsBegin + sector * kSectorBytes), bits));
  if (read == bits.size()) return bits;
  return Fail(ErrorKind::kIo, EscapeText(fmt::format("{}: ends early", file_->path())));
}

Status IntentFile::WriteSector(uint64_t sector, const Sector& bits) {
  return file_->WriteAt(HostOffset(kBitsBegin + sector * kSectorBytes), bits);
}

}  // namespace chainfs::jobs
