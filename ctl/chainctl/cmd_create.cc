// SPDX-License-Identifier: Apache-2.0
//
// create: a new qcow2 image, the one verb that works on image files. Options are named as in
// qemu-img; a relative backing name is relative to the new image's directory, as it will be when
// the chain is opened.
#include <fmt/core.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/io/posix.h"
#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/commands.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

std::unexpected<Error> Usage(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

Result<bool> ParseSwitch(const std::string& key, const std::string& value) {
  if (value == "on" || value == "yes" || value == "true") return true;
  if (value == "off" || value == "no" || value == "false") return false;
  return Usage(fmt::format("{}={}: must be on or off", key, value));
}

// The exponent of a power of two given as a size.
Result<uint32_t> ParsePower(const std::string& key, const std::string& value) {
  CHAINFS_ASSIGN(const uint64_t number, ParseSize(value));
  if (!std::has_single_bit(number)) {
    return Usage(fmt::format("{}={}: must be a power of two", key, value));
  }
  return static_cast<uint32_t>(std::countr_zero(number));
}

Status Apply(const std::string& key, const std::string& value, Qcow2CreateOptions& options) {
  if (key == "cluster_size") {
    CHAINFS_ASSIGN(options.cluster_bits, ParsePower(key, value));
  } else if (key == "refcount_bits") {
    CHAINFS_ASSIGN(options.refcount_order, ParsePower(key, value));
  } else if (key == "lazy_refcounts") {
    CHAINFS_ASSIGN(options.lazy_refcounts, ParseSwitch(key, value));
  } else if (key == "compat") {
    if (value == "0.10" || value == "v2") {
      options.version = 2;
    } else if (value == "1.1" || value == "v3") {
      options.version = 3;
    } else {
      return Usage(fmt::format("compat={}: must be 0.10 or 1.1", value));
    }
  } else if (key == "compression_type") {
    if (value != "zlib" && value != "zstd") {
      return Usage(fmt::format("compression_type={}: must be zlib or zstd", value));
    }
    options.zstd = value == "zstd";
  } else {
    return Usage(
        fmt::format("option '{}' is unknown; known are cluster_size, compat, "
                    "lazy_refcounts, refcount_bits, compression_type",
                    key));
  }
  return {};
}

struct Place {
  std::string directory;
  std::string name;
};

Result<Place> PlaceOf(const std::string& image) {
  const std::filesystem::path path(image);
  if (!path.has_filename() || path.filename() == "." || path.filename() == "..") {
    return Usage(fmt::format("{}: is not a file name", image));
  }
  const std::string directory = path.parent_path().string();
  return Place{.directory = directory.empty() ? "." : directory, .name = path.filename().string()};
}

// The bytes that the backing image shows. Its format is what the user said; nothing is probed.
Result<uint64_t> BackingSize(const std::string& path, ImageFormat format) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(path, failed);
  if (failed) {
    return FailMounted(failed.value(), fmt::format("backing file {}: {}", path, failed.message()));
  }
  CHAINFS_ASSIGN(const auto directory, OpenPosixDirectory(real.parent_path().string()));
  CHAINFS_ASSIGN(const auto file, directory->Open(real.filename().string(), OpenMode::kReadOnly));
  if (format == ImageFormat::kRaw) return file->Size();
  CHAINFS_ASSIGN(const std::optional<uint64_t> size, ReadQcow2VirtualSize(*file));
  if (!size) {
    return FailMounted(EIO, fmt::format("backing file {}: is not a qcow2 image; give the format it "
                                        "has with --backing-format",
                                        path));
  }
  return *size;
}

Status ApplyBacking(const CreateOptions& options, const Place& place, Qcow2CreateOptions& create) {
  if (!options.backing) {
    if (options.backing_format) return Usage("--backing-format needs --backing");
    if (!options.size) return Usage("--size is missing (or --backing, to take its size)");
    return {};
  }
  if (!options.backing_format) {
    return Usage("--backing needs --backing-format qcow2 or raw; formats are never guessed");
  }
  const std::optional<ImageFormat> format = ParseImageFormat(*options.backing_format);
  if (!format) {
    return Usage(fmt::format("--backing-format {}: must be qcow2 or raw", *options.backing_format));
  }
  create.backing = BackingReference{.name = *options.backing, .format = options.backing_format};
  const std::string path = options.backing->starts_with('/')
                               ? *options.backing
                               : place.directory + "/" + *options.backing;
  // Also with --size: an image whose backing is missing cannot be opened.
  CHAINFS_ASSIGN(const uint64_t size, BackingSize(path, *format));
  if (!options.size) create.virtual_size = size;
  return {};
}

void RemarkOnName(const Place& place, const CommonOptions& common) {
  const std::string extension = std::filesystem::path(place.name).extension().string();
  if (common.quiet || (extension != ".raw" && extension != ".img")) return;
  Note(
      fmt::format("create: {}: chainfs shows {} files as raw; mount this one as "
                  "`{},format=qcow2`, or name it .qcow2",
                  place.name, extension, place.name));
}

}  // namespace

Result<ExitCode> RunCreate(const CreateOptions& options, const CommonOptions& common) {
  Qcow2CreateOptions create;
  for (const std::string& list : options.format_options) {
    CHAINFS_ASSIGN(const auto pairs, SplitOptions(list));
    for (const auto& [key, value] : pairs) CHAINFS_TRY(Apply(key, value, create));
  }
  CHAINFS_ASSIGN(const Place place, PlaceOf(options.image));
  if (options.size) {
    CHAINFS_ASSIGN(create.virtual_size, ParseSize(*options.size));
  }
  CHAINFS_TRY(ApplyBacking(options, place, create));
  constexpr uint64_t kSector = 512;
  create.virtual_size = RoundUp(create.virtual_size, kSector);
  const mode_t mask = umask(0);
  umask(mask);
  create.permissions = 0666 & ~mask;
  CHAINFS_ASSIGN(const auto directory, OpenPosixDirectory(place.directory));
  CHAINFS_TRY(CreateQcow2(*directory, place.name, create));
  RemarkOnName(place, common);
  const uint64_t cluster_size = uint64_t{1} << create.cluster_bits;
  if (common.json) {
    nlohmann::json result = {{"filename", options.image},
                             {"format", "qcow2"},
                             {"virtual-size", create.virtual_size},
                             {"cluster-size", cluster_size}};
    if (create.backing) {
      result["backing-filename"] = create.backing->name;
      result["backing-filename-format"] = *create.backing->format;
    }
    Print(OneLine(result) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format(
        "{}: qcow2, {}, clusters of {}{}\n", SafeText(options.image),
        FormatSize(create.virtual_size), FormatSize(cluster_size),
        create.backing ? fmt::format(", backed by {}", SafeText(create.backing->name)) : ""));
  }
  return ExitCode::kDone;
}

}  // namespace chainfs::chainctl
