// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_create.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <array>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/image/create_options.h"
#include "blocklayer/io/posix.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

struct CreateOptions {
  std::string image;
  std::optional<std::string> size, backing, backing_format;
  std::vector<std::string> format_options;  // KEY=VALUE[,KEY=VALUE]
};

std::unexpected<Error> Usage(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

// The exponent of a power of two.
Result<std::optional<uint32_t>> PowerOf(const verbs::Arguments& arguments, std::string_view key,
                                        std::optional<uint64_t> number) {
  if (!number) return std::nullopt;
  if (!std::has_single_bit(*number)) {
    return Usage(fmt::format("{}={}: must be a power of two", key, *arguments.Text(key)));
  }
  return static_cast<uint32_t>(std::countr_zero(*number));
}

Preallocation PreallocationOf(std::string_view word) {
  if (word == "metadata") return Preallocation::kMetadata;
  if (word == "falloc") return Preallocation::kFalloc;
  return word == "full" ? Preallocation::kFull : Preallocation::kOff;
}

Status ApplyFormat(const std::vector<std::string>& lists, Qcow2CreateOptions& create) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments, FormatOptionsAsSent(lists, verbs::FormatKeys()));
  CHAINFS_ASSIGN(const std::optional<uint64_t> cluster_size, arguments.Size("cluster_size"));
  CHAINFS_ASSIGN(const auto cluster_bits, PowerOf(arguments, "cluster_size", cluster_size));
  if (cluster_bits) create.cluster_bits = *cluster_bits;
  CHAINFS_ASSIGN(const std::optional<uint64_t> width, arguments.Number("refcount_bits"));
  CHAINFS_ASSIGN(const auto refcount_order, PowerOf(arguments, "refcount_bits", width));
  if (refcount_order) create.refcount_order = *refcount_order;
  CHAINFS_ASSIGN(create.lazy_refcounts, arguments.Switch("lazy_refcounts", false));
  const std::string compat = arguments.Text("compat").value_or("1.1");
  create.version = compat == "0.10" || compat == "v2" ? 2 : 3;
  create.zstd = arguments.Text("compression_type") == "zstd";
  create.preallocation = PreallocationOf(arguments.Text("preallocation").value_or("off"));
  const bool possible = create.version >= 3 && create.cluster_bits >= kLeastSubclusterBits;
  CHAINFS_ASSIGN(create.extended_l2,
                 arguments.Switch("extended_l2", create.extended_l2 && possible));
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

// Of the backing image. Its format is what the user said; nothing is probed.
Result<Qcow2Shape> BackingShape(const std::string& path, ImageFormat format) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(path, failed);
  if (failed) {
    return FailMounted(failed.value(), fmt::format("backing file {}: {}", path, failed.message()));
  }
  CHAINFS_ASSIGN(const auto directory, OpenPosixDirectory(real.parent_path().string()));
  CHAINFS_ASSIGN(const auto file, directory->Open(real.filename().string(), OpenMode::kReadOnly));
  if (format == ImageFormat::kRaw) {
    CHAINFS_ASSIGN(const uint64_t size, file->Size());
    return Qcow2Shape{.virtual_size = size};
  }
  CHAINFS_ASSIGN(const std::optional<Qcow2Shape> shape, ReadQcow2Shape(*file));
  if (!shape) {
    return FailMounted(EIO, fmt::format("backing file {}: is not a qcow2 image; give the format it "
                                        "has with --backing-format",
                                        path));
  }
  return *shape;
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
  CHAINFS_ASSIGN(const Qcow2Shape below, BackingShape(path, *format));
  if (!options.size) create.virtual_size = below.virtual_size;
  // Unless the options say so.
  create.extended_l2 = below.extended_l2;
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

Result<ExitCode> Create(const CreateOptions& options, const CommonOptions& common) {
  Qcow2CreateOptions create;
  CHAINFS_ASSIGN(const Place place, PlaceOf(options.image));
  if (options.size) {
    CHAINFS_ASSIGN(create.virtual_size, ParseTypedSize(*options.size));
  }
  CHAINFS_TRY(ApplyBacking(options, place, create));
  CHAINFS_TRY(ApplyFormat(options.format_options, create));
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

}  // namespace

VerbRow CreateVerb() {
  return {.name = "create",
          .help = "Create a qcow2 image",
          .examples =
              "chainctl create vm1.qcow2 --size 20G\n"
              "chainctl create vm2.qcow2 --backing base.qcow2 --backing-format qcow2\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<CreateOptions>();
            verb.add_option("IMAGE", options->image, "File to create")->required();
            verb.add_option("--size", options->size,
                            "Size of the disk, such as 20G (default: the backing image's)")
                ->type_name("SIZE");
            verb.add_option("--backing", options->backing, "Image to build on")->type_name("FILE");
            verb.add_option("--backing-format", options->backing_format,
                            "Format of the backing image: qcow2 or raw")
                ->type_name("FORMAT");
            AddFormatOptions(verb, verbs::FormatKeys(), options->format_options);
            return [options](const CommonOptions& common) { return Create(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
