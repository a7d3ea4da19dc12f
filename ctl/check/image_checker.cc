// SPDX-License-Identifier: Apache-2.0
#include "ctl/check/image_checker.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/posix.h"
#include "ctl/check/thread_runner.h"

namespace chainfs::check {
namespace {

// Metadata of one image at a time.
constexpr uint64_t kCacheBytes = 4 << 20;

Result<const FormatRow*> RowOf(const ImageRequest& request, const std::filesystem::path& file) {
  const FormatRegistry& registry = FormatRegistry::BuiltIn();
  const FormatRow* row =
      request.format ? registry.Find(*request.format)
                     : registry.FindByExtension(registry.ExtensionOf(file.filename().string()));
  if (row != nullptr) return row;
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: its name does not say its format; give --format ({})", request.path,
                          registry.Names()));
}

// As QEMU does: nobody writes meanwhile, and to be repaired it is ours alone.
Status LockForCheck(File& file, const ImageRequest& request) {
  Status locked = file.SetImageLocks(request.repair == ImageRepair::kNone ? kBackingLayerLocks
                                                                          : kActiveLayerLocks);
  if (locked || locked.error().kind != ErrorKind::kBusy) return locked;
  const ImageHolder holder = file.HeldElsewhere();
  const bool mounted = holder == ImageHolder::kChainfs || holder == ImageHolder::kEndingChainfs;
  return Fail(ErrorKind::kBusy,
              mounted
                  ? fmt::format("{}: chainfs has it mounted; unmount that first (chainctl list, "
                                "chainctl umount MNT)",
                                request.path)
                  : fmt::format("{}: another process has it open; end that first", request.path));
}

}  // namespace

Result<CheckedImage> CheckImageFile(const ImageRequest& request) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(request.path, failed);
  if (failed) return FailErrno(failed.value(), request.path);
  CHAINFS_ASSIGN(const FormatRow* const row, RowOf(request, request.path));
  CHAINFS_ASSIGN(const auto directory, OpenPosixDirectory(real.parent_path().string()));
  const OpenMode mode =
      request.repair == ImageRepair::kNone ? OpenMode::kReadOnly : OpenMode::kReadWrite;
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory->Open(real.filename().string(), mode));
  CHAINFS_TRY(LockForCheck(*file, request));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  CheckedImage checked{.format = row->format,
                       .id = stat.id,
                       .file = real.string(),
                       .report = {},
                       .virtual_size = 0,
                       .backing = {}};
  if (row->check != nullptr) {
    ThreadRunner runner;
    CHAINFS_ASSIGN(checked.report, row->check(*file, {.repair = request.repair,
                                                      .runner = &runner,
                                                      .stop = request.stop,
                                                      .percent = request.percent}));
  }
  MetadataCache cache(kCacheBytes);
  CHAINFS_ASSIGN(const std::unique_ptr<Image> image,
                 row->open(std::move(file), cache,
                           {.read_only = true, .owner = cache.NewOwner(), .unrepaired = {}}));
  checked.virtual_size = image->virtual_size();
  checked.backing = image->backing();
  return checked;
}

}  // namespace chainfs::check
